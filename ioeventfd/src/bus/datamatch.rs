// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Datamatch`]: which writes ring a doorbell.

use std::fmt;

use crate::Error;

/// How many bytes a guest writes at once: `Width::W4 as u32` is 4.
///
/// The enum is exhaustive: KVM matches writes of these four lengths, and splits longer stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Width {
    /// One.
    W1 = 1,
    /// Two.
    W2 = 2,
    /// Four.
    W4 = 4,
    /// Eight.
    W8 = 8,
}

/// Which writes to its address ring a doorbell. All other writes, and all reads, exit to user
/// space.
///
/// A value that does not fit its width cannot be expressed. [`new`](Self::new) takes a length and a
/// value, which is what most VMMs have.
///
/// Several doorbells with different values of one width can share an address. So can several with
/// different widths. A doorbell for all values of a width excludes doorbells for one value of that
/// width, and [`AnyWrite`](Self::AnyWrite) excludes all others.
///
/// # Host kernels before Linux 7.2
///
/// A guest can reach a `BUG` of the host's kernel if a doorbell with a value is at the start of a
/// page. It does so by a store of 16 bytes that starts in the page before, at an address that is
/// not a multiple of 8. Commit f1edbed787ba ("KVM: Replace guest-triggerable `BUG_ON()` in
/// ioeventfd datamatch") is the fix; stable kernels have it too. If a host may lack it, put no such
/// doorbell at the start of a page, or use one for any value there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Datamatch {
    /// Every write, whatever its width and value.
    ///
    /// No doorbell with a width may end where this one begins: KVM's bus would miss one of the two,
    /// depending on which was registered first. A [`DoorbellSet`](crate::DoorbellSet) refuses that
    /// ([`Conflict::Adjacent`](crate::Conflict::Adjacent)). A single
    /// [`IoEventFd`](crate::IoEventFd) does not know of others, so it cannot check.
    ///
    /// On MMIO, KVM may use a fast path that does not decode the instruction, so it cannot
    /// distinguish a read from a write. A guest that *reads* the address may then ring the doorbell
    /// too. Use a width where that matters.
    AnyWrite,
    /// Every write of this width.
    Width(Width),
    /// Writes of this byte.
    U8(u8),
    /// Writes of these two bytes, in the guest's byte order.
    U16(u16),
    /// Writes of these four bytes.
    U32(u32),
    /// Writes of these eight bytes.
    U64(u64),
}

impl Datamatch {
    /// Creates one from a length in bytes and, for a single value, that value.
    ///
    /// | `length` | `value` | which writes ring |
    /// |---|---|---|
    /// | 0 | `None` | every write, whatever its length: [`AnyWrite`](Self::AnyWrite) |
    /// | 1, 2, 4, 8 | `None` | every write of this length: [`Width`](Self::Width) |
    /// | 1, 2, 4, 8 | `Some` | writes of this length and value: [`U8`](Self::U8) and so on |
    ///
    /// The value is a number in the host's byte order, as in `struct kvm_ioeventfd`.
    ///
    /// # Errors
    ///
    /// Fails with [`Error::InvalidDatamatch`] for a value with a length of 0, for a value that does
    /// not fit the length, and for other lengths.
    ///
    /// ```
    /// use ioeventfd::{Datamatch, Width};
    ///
    /// assert_eq!(Datamatch::new(2, Some(1))?, Datamatch::U16(1));
    /// assert_eq!(Datamatch::new(4, None)?, Datamatch::Width(Width::W4));
    /// assert!(Datamatch::new(2, Some(0x1_0000)).is_err());
    /// # Ok::<(), ioeventfd::Error>(())
    /// ```
    pub fn new(length: u32, value: Option<u64>) -> Result<Self, Error> {
        let invalid = || Error::InvalidDatamatch { length, value };
        let Some(number) = value else {
            return Ok(match length {
                0 => Self::AnyWrite,
                1 => Self::Width(Width::W1),
                2 => Self::Width(Width::W2),
                4 => Self::Width(Width::W4),
                8 => Self::Width(Width::W8),
                _ => return Err(invalid()),
            });
        };
        let datamatch = match length {
            1 => number.try_into().map(Self::U8),
            2 => number.try_into().map(Self::U16),
            4 => number.try_into().map(Self::U32),
            8 => Ok(Self::U64(number)),
            _ => return Err(invalid()),
        };
        datamatch.map_err(|_| invalid())
    }

    /// Returns the length in bytes, as in `struct kvm_ioeventfd`: 0 means any.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::AnyWrite => 0,
            Self::Width(width) => width as u32,
            Self::U8(_) => 1,
            Self::U16(_) => 2,
            Self::U32(_) => 4,
            Self::U64(_) => 8,
        }
    }

    /// Returns the value, if only one value rings.
    #[must_use]
    pub const fn value(self) -> Option<u64> {
        match self {
            Self::AnyWrite | Self::Width(_) => None,
            Self::U8(value) => Some(value as u64),
            Self::U16(value) => Some(value as u64),
            Self::U32(value) => Some(value as u64),
            Self::U64(value) => Some(value),
        }
    }
}

impl fmt::Display for Datamatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.bytes(), self.value()) {
            (0, _) => f.write_str("any write"),
            (bytes, None) => write!(f, "any {}-bit write", bytes * 8),
            (bytes, Some(value)) => write!(f, "{}-bit writes of {value:#x}", bytes * 8),
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`IoAddress`]: where a doorbell lies.

use std::fmt;

use notify_core::Bus;

/// An address that a guest writes to. The two address spaces are independent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum IoAddress {
    /// A guest-physical address without a memory slot. A write to RAM never rings a doorbell.
    Mmio(u64),
    /// An I/O port (x86).
    Pio(u16),
}

impl IoAddress {
    /// Returns the address space.
    #[must_use]
    pub const fn bus(self) -> Bus {
        match self {
            Self::Mmio(_) => Bus::Mmio,
            Self::Pio(_) => Bus::Pio,
        }
    }

    /// Returns the number within its address space.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::Mmio(address) => address,
            Self::Pio(port) => port as u64,
        }
    }

    /// Whether KVM's bus can see a write of so many bytes (0: any number) at this address. The
    /// architecture limits guest-physical addresses, and a store across a page is two writes. Ports
    /// end at 0xffff, and no processor writes eight bytes to one.
    pub(crate) fn takes(self, bytes: u32) -> bool {
        match self {
            Self::Mmio(address) => {
                address < 1 << PHYSICAL_BITS && address % PAGE + u64::from(bytes) <= PAGE
            }
            Self::Pio(port) => bytes <= 4 && u32::from(port) + bytes <= 0x1_0000,
        }
    }

    /// Whether it is one of the `size` bytes from `start`.
    pub(crate) fn is_within(self, start: Self, size: u64) -> bool {
        let offset = self.number().checked_sub(start.number());
        self.bus() == start.bus() && offset.is_some_and(|offset| offset < size)
    }

    /// The address at the same offset from `to` as this one from `from`; `None` if they are not all
    /// in one address space.
    pub(crate) fn moved(self, from: Self, to: Self) -> Option<Self> {
        if self.bus() != from.bus() || from.bus() != to.bus() {
            return None;
        }
        let offset = self.number().checked_sub(from.number())?;
        let number = to.number().checked_add(offset)?;
        match self {
            Self::Mmio(_) => Some(Self::Mmio(number)),
            Self::Pio(_) => u16::try_from(number).ok().map(Self::Pio),
        }
    }
}

/// How many bits a guest-physical address has at most: MAXPHYADDR of x86, FEAT_LPA2 of arm64,
/// Sv57x4 of riscv64. A particular guest may have fewer.
const PHYSICAL_BITS: u32 = if cfg!(target_arch = "riscv64") {
    59
} else {
    52
};

/// KVM's emulator splits a store at a multiple of this. A guest's pages may be larger, never
/// smaller.
pub(crate) const PAGE: u64 = 0x1000;

impl fmt::Debug for IoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mmio(address) => write!(f, "Mmio({address:#x})"),
            Self::Pio(port) => write!(f, "Pio({port:#x})"),
        }
    }
}

impl fmt::Display for IoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mmio(address) => write!(f, "MMIO {address:#x}"),
            Self::Pio(port) => write!(f, "port {port:#x}"),
        }
    }
}

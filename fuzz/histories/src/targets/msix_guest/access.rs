// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Accesses of the guest: offset and value.

use arbitrary::Arbitrary;

/// An offset of an access.
#[derive(Debug, Clone, Arbitrary)]
pub enum At {
    /// Inside, or shortly after the end.
    Near(u8),
    /// So many bytes before 2^64.
    End(u8),
    /// Anywhere.
    Far(u64),
}

impl At {
    /// The offset, in a region of this many bytes.
    pub(super) fn offset(&self, len: u64) -> u64 {
        match *self {
            Self::Near(near) => u64::from(near) % (len + 4),
            Self::End(back) => u64::MAX - u64::from(back % 20),
            Self::Far(far) => far,
        }
    }
}

/// What an access writes.
#[derive(Debug, Clone, Arbitrary)]
pub enum Bytes {
    /// A byte.
    Byte(u8),
    /// Two.
    Half(u16),
    /// Four.
    Word(u32),
    /// Eight.
    Long(u64),
    /// Any number.
    Any(Vec<u8>),
}

impl Bytes {
    pub(super) fn to_vec(&self) -> Vec<u8> {
        match self {
            Self::Byte(byte) => vec![*byte],
            Self::Half(half) => half.to_le_bytes().to_vec(),
            Self::Word(word) => word.to_le_bytes().to_vec(),
            Self::Long(long) => long.to_le_bytes().to_vec(),
            Self::Any(bytes) => bytes.clone(),
        }
    }
}

/// A value that a word of a message, or of Vector Control, is likely to have.
pub(super) fn likely(value: u8) -> u32 {
    const VALUES: [u32; 8] = [
        0xfee0_0000,
        0xfee0_0003,
        0xfee0_1000,
        0,
        1,
        2,
        0xffff_ffff,
        0xfee0_0000,
    ];
    match VALUES.get(usize::from(value % 24)) {
        Some(value) => *value,
        None => u32::from(0x40 + value % 16),
    }
}

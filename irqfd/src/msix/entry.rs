// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Entry`]: sixteen bytes of the table, as the guest wrote them.

use irq_routing::MsiMessage;

/// How many bytes an entry has.
pub(super) const ENTRY: usize = 16;
/// The lowest two bits of an address, which may be read-only (PCI Local Bus 3.0, 6.8.2.6).
pub(super) const UNALIGNED: u64 = 0x3;
/// Bit 0 of Vector Control (6.8.2.9). The others are reserved.
const MASK: u32 = 0x1;

/// What the guest wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) address: u64,
    pub(super) data: u32,
    pub(super) masked: bool,
}

/// After a reset.
impl Default for Entry {
    fn default() -> Self {
        Self {
            address: 0,
            data: 0,
            masked: true,
        }
    }
}

impl Entry {
    pub(super) fn bytes(self) -> [u8; ENTRY] {
        let control = if self.masked { MASK } else { 0 };
        let words =
            u128::from(control) << 96 | u128::from(self.data) << 64 | u128::from(self.address);
        words.to_le_bytes()
    }

    /// Reserved bits stay zero, whatever is written to them.
    pub(super) fn from_bytes(bytes: [u8; ENTRY]) -> Self {
        let words = u128::from_le_bytes(bytes);
        let word = |number: u32| (words >> (32 * number)) as u32;
        let address = u64::from(word(1)) << 32 | u64::from(word(0));
        Self {
            address: address & !UNALIGNED,
            data: word(2),
            masked: word(3) & MASK != 0,
        }
    }

    pub(super) fn message(self, devid: Option<u32>) -> MsiMessage {
        MsiMessage {
            address: self.address,
            data: self.data,
            devid,
        }
    }
}

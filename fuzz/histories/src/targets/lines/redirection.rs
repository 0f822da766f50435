// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Redirection`]: the redirection entry of an IOAPIC.

use irq_routing::MsiMessage;

use super::step::Entry;

/// The first and the third have the same priority.
pub(super) const VECTORS: [u8; 4] = [0x50, 0x72, 0x55, 0x50];
const NMI: u32 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Redirection {
    pub(super) vector: u8,
    level: bool,
    pub(super) masked: bool,
    destination: u8,
    mode: u32,
}

impl Redirection {
    /// That of a new line on a split irqchip.
    pub(super) const RESET: Self = Self {
        vector: 0,
        level: false,
        masked: true,
        destination: 0,
        mode: 0,
    };

    /// Level-triggered and not masked, with a vector of its own.
    pub(super) fn first(at: usize) -> Self {
        Self {
            vector: VECTORS[at],
            level: true,
            masked: false,
            ..Self::RESET
        }
    }

    /// The same, with vectors that are not used elsewhere.
    pub(super) fn last(at: usize) -> Self {
        let vector = 0x93 + 0x10 * at as u8;
        Self {
            vector,
            ..Self::first(at)
        }
    }

    /// Whether an EOI ends its interrupts: no NMI has one.
    pub(super) fn is_level(self) -> bool {
        self.level && self.mode != NMI
    }

    pub(super) fn is_edge(self) -> bool {
        !self.is_level()
    }

    /// Whether an EOI of this vector concerns it.
    pub(super) fn ends(self, vector: u8) -> bool {
        self.is_level() && self.vector == vector
    }

    pub(super) fn message(self) -> MsiMessage {
        let address = 0xfee0_0000 | u64::from(self.destination) << 12;
        MsiMessage::new(address, self.data())
    }

    fn data(self) -> u32 {
        u32::from(self.vector) | self.mode << 8 | u32::from(self.level) << 15
    }

    /// Low and high half.
    pub(super) fn registers(self) -> [u32; 2] {
        let low = self.data() | u32::from(self.masked) << 16;
        [low, u32::from(self.destination) << 24]
    }
}

impl From<Entry> for Redirection {
    fn from(Entry(bits): Entry) -> Self {
        let (destination, mode) = match bits >> 5 {
            4 => (1, 0),
            5 => (7, 0), // no vCPU
            6 => (0, 1), // the lowest priority
            7 => (0, NMI),
            _ => (0, 0),
        };
        Self {
            vector: VECTORS[usize::from(bits & 3)],
            level: bits & 0xc != 0xc,
            masked: bits & 0x10 != 0,
            destination,
            mode,
        }
    }
}

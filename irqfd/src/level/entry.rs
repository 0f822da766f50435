// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Entry`]: a redirection entry of an IOAPIC in user space.

use irq_routing::MsiMessage;

/// A redirection entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) message: MsiMessage,
    pub(super) masked: bool,
}

impl Entry {
    /// The vector whose EOI ends the interrupt; an edge-triggered entry has none, nor has what is
    /// no interrupt (an NMI, for instance).
    pub(super) fn ended_by(&self) -> Option<u8> {
        let data = self.message.data;
        let [vector, ..] = data.to_le_bytes();
        let is_level = data & 1 << 15 != 0;
        // Delivery modes 0 (fixed) and 1 (lowest priority).
        let has_vector = data >> 8 & 7 <= 1;
        (is_level && has_vector).then_some(vector)
    }

    /// The same, masked also while the line is paused.
    pub(super) fn masked_if(self, paused: bool) -> Self {
        let masked = self.masked || paused;
        Self { masked, ..self }
    }

    /// Whether it sends a message each time that the line rises.
    pub(super) fn waits_for_edges(&self) -> bool {
        !self.masked && self.ended_by().is_none()
    }
}

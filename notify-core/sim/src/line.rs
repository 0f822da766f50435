// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The drivers of a pin: it is high while at least one holds it up.

/// A driver of a pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// KVM_IRQ_LINE and plain irqfds.
    User = 1,
    /// All irqfds with a resample eventfd together.
    Resample = 2,
}

/// The drivers of each pin of a chip.
#[derive(Debug)]
pub(super) struct Lines<const N: usize>([u8; N]);

impl<const N: usize> Default for Lines<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> Lines<N> {
    /// The level of the pin now that one driver has changed.
    pub(super) fn set(&mut self, pin: u32, source: Source, level: bool) -> bool {
        let Some(drivers) = usize::try_from(pin)
            .ok()
            .and_then(|pin| self.0.get_mut(pin))
        else {
            return false;
        };
        let bit = source as u8;
        *drivers = if level {
            *drivers | bit
        } else {
            *drivers & !bit
        };
        *drivers != 0
    }
}

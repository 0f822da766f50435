// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The capability's Message Control register.

use super::Table;
use super::table::Inner;
use crate::Dead;
use crate::vector::Opened;

/// Message Control (PCI Local Bus 3.0, 6.8.2.3): bits of its own, and those of the table's size.
pub(super) const ENABLE: u16 = 1 << 15;
pub(super) const FUNCTION_MASK: u16 = 1 << 14;
/// Where Message Control stands in the capability, and how much of it there is.
const CONTROL_OFFSET: u64 = 2;

impl Table {
    /// Returns the Message Control register (PCI Local Bus 3.0, 6.8.2.3).
    ///
    /// Enable is bit 15, function mask bit 14; bits 0 to 10 are the table's size less one. Waits
    /// for no lock.
    #[must_use]
    pub fn message_control(&self) -> u16 {
        self.inner.message_control()
    }

    /// Writes the configuration space for the guest. Returns vectors that it opened and are dead.
    ///
    /// `offset` is from the start of the MSI-X capability; Message Control is at offset 2. All bits
    /// but enable and function mask are read-only. Blocks as [`write`](Self::write) does.
    #[must_use = "vectors that cannot be armed deliver nothing"]
    pub fn config_write(&self, offset: u64, data: &[u8]) -> Vec<Dead> {
        self.inner.change_control(|control| {
            let mut bytes = control.to_le_bytes();
            for (position, byte) in (CONTROL_OFFSET..).zip(&mut bytes) {
                let index = position.checked_sub(offset).map(usize::try_from);
                if let Some(written) = index.and_then(|index| data.get(index.ok()?)) {
                    *byte = *written;
                }
            }
            u16::from_le_bytes(bytes)
        })
    }

    /// Sets the enable bit and the function mask of Message Control.
    ///
    /// For a VMM that decodes the register by itself; the same as
    /// [`config_write`](Self::config_write) of the whole register. Entries, their mask bits and
    /// pending bits stay as they are. A function that is not enabled keeps triggers as if it were
    /// masked. Returns vectors that it opened and are dead.
    #[must_use = "vectors that cannot be armed deliver nothing"]
    pub fn set_control(&self, enabled: bool, function_masked: bool) -> Vec<Dead> {
        let control = bit(enabled, ENABLE) | bit(function_masked, FUNCTION_MASK);
        self.inner.change_control(|_| control)
    }

    /// Returns whether the guest has enabled MSI-X. If not, the device has to use its INTx pin.
    ///
    /// Waits for no lock, so never for an access of the guest.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.inner.device.is_enabled()
    }
}

impl Inner {
    fn message_control(&self) -> u16 {
        let (enabled, masked) = (self.device.is_enabled(), self.is_function_masked());
        message_control(self.vectors.len(), enabled, masked)
    }

    fn change_control(&self, change: impl FnOnce(u16) -> u16) -> Vec<Dead> {
        let mut opened = Opened::of(&self.vectors);
        let state = self.state.lock();
        let control = change(self.message_control());
        let was_open = self.is_open();
        self.put_control(control & ENABLE != 0, control & FUNCTION_MASK != 0);
        let is_open = self.is_open();
        if was_open != is_open {
            for (vector, entry) in self.vectors.iter().zip(&state.entries) {
                let (was, is) = (was_open && !entry.masked, is_open && !entry.masked);
                self.open_or_close(vector, state.message(*entry), was, is, &mut opened);
            }
        }
        drop(state);
        opened.run()
    }
}

pub(super) fn message_control(vectors: usize, enabled: bool, function_masked: bool) -> u16 {
    // There are 2048 at most.
    let size = u16::try_from(vectors.saturating_sub(1)).unwrap_or(u16::MAX);
    size | bit(enabled, ENABLE) | bit(function_masked, FUNCTION_MASK)
}

fn bit(set: bool, bit: u16) -> u16 {
    if set { bit } else { 0 }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the VMM changes of a capability: its device id, and the GSIs of its vectors.

use irq_routing::GsiLease;
use notify_core::Rejected;

use super::Capability;
use super::registers::message_of;
use crate::vector::Opened;
use crate::{Dead, VectorError, numbered};

impl Capability {
    /// Sets the GSI of a vector, as [`Vector::set_lease`](crate::Vector::set_lease) does.
    ///
    /// # Errors
    ///
    /// Those of [`Vector::set_lease`](crate::Vector::set_lease), and
    /// [`VectorError::NoVector`].
    pub fn set_lease(
        &self,
        number: u16,
        lease: GsiLease,
    ) -> Result<(), Rejected<GsiLease, VectorError>> {
        numbered::set_lease(&self.inner.vectors, number, lease)
    }

    /// Changes the device id of the messages.
    ///
    /// As [`msix::Table::set_devid`](crate::msix::Table::set_devid).
    #[must_use = "vectors that cannot be armed deliver nothing"]
    pub fn set_devid(&self, devid: Option<u32>) -> Vec<Dead> {
        let mut opened = Opened::of(&self.inner.vectors);
        let mut state = self.inner.state.lock();
        state.devid = devid;
        state.sends.devid = devid;
        let registers = state.registers;
        for (number, vector) in (0..).zip(&self.inner.vectors) {
            if registers.open_bits() >> number & 1 != 0 {
                opened.retarget(vector, message_of(state.sends, registers.granted, number));
            }
        }
        drop(state);
        opened.run()
    }
}

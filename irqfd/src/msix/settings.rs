// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the VMM changes of a table: its device id, and the GSIs of its vectors.

use irq_routing::GsiLease;
use notify_core::Rejected;

use super::Table;
use crate::vector::Opened;
use crate::{Dead, VectorError, numbered};

impl Table {
    /// Changes the device id of the messages ([`TableBuilder::devid`](super::TableBuilder::devid)).
    ///
    /// A guest that renumbers its buses changes the requester id of the devices behind them. Open
    /// vectors send with the new id when this returns, or when the owner of their queue has armed
    /// them. Returns the vectors that are open and dead. Blocks for one commit if private or
    /// exported vectors without a queue are open.
    #[must_use = "vectors that cannot be armed deliver nothing"]
    pub fn set_devid(&self, devid: Option<u32>) -> Vec<Dead> {
        let mut opened = Opened::of(&self.inner.vectors);
        let mut state = self.inner.state.lock();
        state.devid = devid;
        if self.inner.is_open() {
            let vectors = self.inner.vectors.iter().zip(&state.entries);
            for (vector, entry) in vectors.filter(|(_, entry)| !entry.masked) {
                opened.retarget(vector, state.message(*entry));
            }
        }
        drop(state);
        opened.run()
    }

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
}

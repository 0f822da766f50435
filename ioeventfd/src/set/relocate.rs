// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Following a BAR.

use super::doorbell::Bell;
use super::left::Epoch;
use super::{Doorbell, DoorbellSet};
use crate::{Error, IoAddress};

impl DoorbellSet {
    /// Moves the doorbells of a BAR: those in the `size` bytes from `from` on move to the same
    /// offsets from `to` on. Doorbells outside that range, such as those of the device's other
    /// BARs, stay.
    ///
    /// A guest may go on writing to either place. What the kernel has not registered yet, or no
    /// longer has, exits; give such writes to [`on_exit_write`](Self::on_exit_write), and give
    /// [`vcpus_passed`](Self::vcpus_passed) the epoch when all vCPUs know of the move. Where an old
    /// place is also a new one, the new one counts: a driver that moves a BAR and kicks at once has
    /// said no order, and on a real bus either might win.
    ///
    /// If the BAR has memory slots too (an MSI-X table's page, a framebuffer), change them
    /// [before](Self#memory-slots-first): afterwards the change waits for a grace period.
    ///
    /// Of a stopped set the places change, and nothing is asked of the VM.
    ///
    /// # Errors
    ///
    /// [`Error::NotMovable`] if a doorbell would leave its address space, and those of
    /// [`plan`](Self::plan) and [`apply`](Self::apply). All doorbells are where they were then.
    pub fn relocate(&self, from: IoAddress, size: u64, to: IoAddress) -> Result<Epoch, Error> {
        self.change(|state, deferred| {
            let wanted = state.bells.iter().map(|bell| moved(bell, from, size, to));
            let wanted = wanted.collect::<Result<_, _>>()?;
            let mut plan = self.compare(state, wanted)?;
            self.carry_out(state, &mut plan, deferred)
        })
    }
}

fn moved(bell: &Bell, from: IoAddress, size: u64, to: IoAddress) -> Result<Doorbell, Error> {
    let mut doorbell = bell.doorbell();
    let address = doorbell.address;
    if address.is_within(from, size) {
        let moved = address.moved(from, to);
        doorbell.address = moved.ok_or(Error::NotMovable { address, from, to })?;
    }
    Ok(doorbell)
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`DoorbellSet::relocate`]: following a BAR.

use super::doorbell::Bell;
use super::left::Epoch;
use super::{Doorbell, DoorbellSet};
use crate::{Error, IoAddress};

impl DoorbellSet {
    /// Moves the doorbells of a BAR of `size` bytes from `from` to `to`, at the same offsets.
    ///
    /// `from` is where the doorbells are, not what the BAR register reads: keep the base of the
    /// last move that succeeded. Doorbells outside the range, such as those of the device's other
    /// BARs, stay. If no doorbell lies in the range, this returns `Ok` and moves nothing.
    ///
    /// Call it with the base of a BAR only, and not while the guest sizes the BAR; see [Sizing and
    /// 64-bit BARs](crate::guide::moving_bar#sizing-and-64-bit-bars).
    ///
    /// The guest may write to both places during the move. A write that the kernel does not match
    /// exits; pass it to [`on_exit_write`](Self::on_exit_write). When no vCPU can bring such a
    /// write any more, pass the epoch to [`vcpus_passed`](Self::vcpus_passed). Where an old address
    /// is also a new one, the new doorbell counts. A guest that moves a BAR and kicks concurrently
    /// may hit either place; so it is on hardware. The guide shows [the order of
    /// steps](crate::guide::moving_bar).
    ///
    /// If the BAR has memory slots too (an MSI-X table's page, a framebuffer), change them
    /// [before](Self#memory-slots-first): afterwards that change waits for a grace period.
    ///
    /// A stopped set changes its addresses and makes no request to the VM.
    ///
    /// # Blocking
    ///
    /// As [`apply`](Self::apply).
    ///
    /// # Errors
    ///
    /// [`Error::NotMovable`] if a doorbell would leave its address space, and those of
    /// [`plan`](Self::plan) and [`apply`](Self::apply). Then no doorbell has moved, except after
    /// [`Error::NotUndone`]. Pass the same `from` to the next call.
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

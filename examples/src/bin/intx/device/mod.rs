// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Device`]: one of the devices that share the line.
//!
//! A device that wants the guest's attention publishes a number and asserts the line until the
//! guest has acknowledged its last number. Assertions are counted exactly: each is *handled*, or
//! *withdrawn* by the device.

mod exported;
mod own;
mod told;

use std::iter::Sum;
use std::time::Duration;

pub(crate) use exported::Exported;
pub(crate) use own::Own;

/// The counts of a device.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    /// How often it began to assert.
    pub(crate) asserted: u64,
    /// How often it stopped because the guest had acknowledged its last number.
    pub(crate) handled: u64,
    /// How often it stopped for a reason of its own.
    pub(crate) withdrawn: u64,
    /// How often it published while it asserted already.
    pub(crate) merged: u64,
    /// How often it triggered again after an EOI, because a number was not acknowledged.
    pub(crate) triggered_again: u64,
}

impl Counts {
    pub(crate) fn is_asserted(&self) -> bool {
        self.asserted > self.handled + self.withdrawn
    }

    /// Stops asserting; its open assertions count as withdrawn.
    fn withdraw(&mut self) {
        self.withdrawn += u64::from(self.is_asserted());
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            asserted: sum.asserted + one.asserted,
            handled: sum.handled + one.handled,
            withdrawn: sum.withdrawn + one.withdrawn,
            merged: sum.merged + one.merged,
            triggered_again: sum.triggered_again + one.triggered_again,
        })
    }
}

/// A device on the line.
pub(crate) trait Device: Sync {
    /// Publishes a number and begins to assert. The device was not asserting before.
    fn raise(&self) -> Result<(), String>;

    /// Publishes another number, but only if the device still asserts.
    fn add(&self) -> Result<(), String>;

    /// Stops asserting. Returns whether it did: not every device can take back its assertion.
    fn withdraw(&self) -> Result<bool, String>;

    /// Waits for at most `patience` until the guest has acknowledged the last number. Returns
    /// whether it has.
    fn settle(&self, patience: Duration) -> Result<bool, String>;

    /// Leaves the line, asserted or not.
    fn leave(&self) -> Result<(), String>;

    /// Joins the line again.
    fn join(&self) -> Result<(), String>;

    /// The device's counts.
    fn counts(&self) -> Counts;

    /// How many EOIs it was signalled since the last call; `None` if it asks for no EOIs.
    fn told(&self) -> Result<Option<u64>, String>;
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Device`]: one of those that share the line.
//!
//! A device that wants the guest's attention publishes a number and asserts the line, until the
//! guest has acknowledged its last number. What becomes of assertions is counted exactly: each is
//! *handled*, or *withdrawn* by the device.

mod exported;
mod own;
mod told;

use std::iter::Sum;
use std::time::Duration;

pub(crate) use exported::Exported;
pub(crate) use own::Own;

/// What a device has counted.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    /// It began to assert.
    pub(crate) asserted: u64,
    /// It stopped, as the guest had acknowledged its last number.
    pub(crate) handled: u64,
    /// It stopped for a reason of its own.
    pub(crate) withdrawn: u64,
    /// It had more to say while it asserted already.
    pub(crate) merged: u64,
    /// It was told of an EOI and triggered again, as it had still something to say.
    pub(crate) triggered_again: u64,
}

impl Counts {
    pub(crate) fn is_asserted(&self) -> bool {
        self.asserted > self.handled + self.withdrawn
    }

    /// It asserts no more, whatever has become of what it said.
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
    /// Has something to say, and said nothing before: begins to assert.
    fn raise(&self) -> Result<(), String>;

    /// Has more to say, but only if it asserts still.
    fn add(&self) -> Result<(), String>;

    /// Has nothing to say any more. Not all can take back what they have said: returns whether this
    /// one can.
    fn withdraw(&self) -> Result<bool, String>;

    /// Waits until the guest has acknowledged its last number. Returns whether it has, within so
    /// long.
    fn settle(&self, patience: Duration) -> Result<bool, String>;

    /// Leaves the line, asserted or not.
    fn leave(&self) -> Result<(), String>;

    /// Comes back.
    fn join(&self) -> Result<(), String>;

    /// What it has counted.
    fn counts(&self) -> Counts;

    /// How many EOIs it was told of since the last call, if it is told.
    fn told(&self) -> Result<Option<u64>, String>;
}

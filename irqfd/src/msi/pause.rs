// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Pausing a capability for a snapshot, and resuming it; as for an MSI-X table.

use super::Capability;
use crate::{Dead, ResumeBatch, numbered};

impl Capability {
    /// Pauses the device's interrupts for a snapshot.
    ///
    /// As [`msix::Table::pause`](crate::msix::Table::pause).
    pub fn pause(&self) {
        let mut state = self.inner.state.lock();
        state.paused = true;
        numbered::pause(&self.inner.vectors);
    }

    /// Takes [`pause`](Self::pause) back, as
    /// [`msix::Table::resume`](crate::msix::Table::resume) does.
    #[must_use = "vectors that cannot be armed deliver nothing"]
    pub fn resume(&self) -> Vec<Dead> {
        let mut batch = ResumeBatch::default();
        self.resume_in(&mut batch);
        batch.run()
    }

    /// Adds the vectors to a batch, which resumes them with those of other devices when it is run.
    ///
    /// Vectors with a queue do not wait for the batch: they enter their queue now.
    pub fn resume_in(&self, batch: &mut ResumeBatch) {
        let mut state = self.inner.state.lock();
        state.paused = false;
        numbered::resume_in(&self.inner.vectors, batch);
    }
}

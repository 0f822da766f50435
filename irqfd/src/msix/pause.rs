// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Pausing a table for a snapshot, and resuming it.

use super::Table;
use crate::{Dead, ResumeBatch, numbered};

impl Table {
    /// Pauses the device's interrupts for a snapshot: triggers are kept until
    /// [`resume`](Self::resume).
    ///
    /// Call it when the vCPUs and the device's back-ends have stopped. When this returns, KVM has
    /// injected all that it took from notifiers before. So KVM_GET_LAPIC and
    /// [`snapshot`](Self::snapshot) together have every interrupt once. Signals that come later
    /// stay in their notifiers. Pausing a paused table changes nothing.
    ///
    /// Blocks for one KVM_IRQFD for each armed vector, one after the other; other accesses to the
    /// table wait meanwhile. Commits nothing: the vectors keep their GSIs and routes. While the
    /// table is paused, accesses of the guest change registers and arm nothing.
    ///
    /// If KVM refuses to unbind an irqfd, that is logged. Its signals are still injected, and its
    /// GSI stays out of use.
    pub fn pause(&self) {
        let mut state = self.inner.state.lock();
        state.paused = true;
        numbered::pause(&self.inner.vectors);
    }

    /// Takes [`pause`](Self::pause) back, and delivers what was kept.
    ///
    /// Returns the vectors that could not be opened or armed. Makes one commit, unless the kernel
    /// still has all routes. For vectors with a queue this returns before they are armed;
    /// [`ArmQueue::run_pending`](crate::ArmQueue::run_pending) returns those that fail. Blocks as
    /// [`ResumeBatch::run`] does.
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

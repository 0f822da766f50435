// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Round`]: one commit for all that wait, then their irqfds.

use std::sync::Arc;

use super::Shared;
use crate::Dead;
use crate::vector::Inner;
use crate::vector::arming::{Outcome, Task, run};

/// The result of [`ArmQueue::run_pending`](crate::ArmQueue::run_pending).
#[derive(Debug, Default)]
#[must_use = "vectors that cannot be armed deliver nothing"]
#[non_exhaustive]
pub struct Round {
    /// How many vectors were armed.
    pub armed: usize,
    /// Vectors that could not be armed. If the reason is temporary, the vector is retried in a
    /// later round, for which the descriptor becomes readable.
    pub failed: Vec<Dead>,
}

impl Shared {
    pub(super) fn run(self: &Arc<Self>) -> Round {
        let outcome = self.run_round().finish();
        Round {
            armed: outcome.armed,
            failed: outcome.dead,
        }
    }

    /// The last round, in which a panic of the VM or the table's translation is dropped.
    pub(super) fn run_last(self: &Arc<Self>) {
        self.run_round().forget();
    }

    fn run_round(self: &Arc<Self>) -> Outcome {
        let _one_at_a_time = self.round.lock();
        if let Some(calls) = self.calls.upgrade() {
            calls.begin_round();
        }
        let taken = self.take();
        let tasks: Vec<Task> = taken.iter().filter_map(Inner::begin_arming).collect();
        let mut outcome = Outcome::default();
        run(&tasks, Some(self), &mut outcome);
        outcome
    }

    fn take(&self) -> Vec<Arc<Inner>> {
        let waiting = std::mem::take(&mut self.waiting.lock().vectors);
        let vectors = waiting.iter().filter_map(std::sync::Weak::upgrade);
        vectors.collect()
    }
}

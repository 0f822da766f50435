// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Round`]: one commit for all that wait, then their irqfds.

use std::sync::Arc;

use irq_routing::Transaction;

use super::Shared;
use crate::sync::atomic::Ordering;
use crate::vector::{Begun, Inner, commit_staged};
use crate::{Error, Vector};

/// What [`ArmQueue::run_pending`](crate::ArmQueue::run_pending) has done.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Round {
    /// How many vectors were armed.
    pub armed: usize,
    /// How many vectors had a signal that was sent on as a message, because no GSI is free for them.
    pub relayed: usize,
    /// Vectors that could not be armed, and why. Of these, what may pass by itself is tried again in the
    /// next round.
    pub failed: Vec<(Vector, Arc<Error>)>,
}

/// Vectors of a round. Dropping it abandons them, if a panic has come in between.
struct Taken(Vec<Arc<Inner>>);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.iter().for_each(Inner::abandon);
    }
}

impl Shared {
    pub(super) fn run(self: &Arc<Self>) -> Round {
        let _one_at_a_time = self.round.lock();
        let mut round = Round::default();
        // In this order, and before the vectors are taken: what comes after that signals anew, and
        // whoever was spared the signal has entered its vector.
        let _ = self.ready.consume();
        self.told.swap(false, Ordering::AcqRel);
        let mut taken = Taken(self.take());
        round.relayed = self.relay_signals();
        let mut transaction = self.table.transaction();
        transaction.reserve(taken.0.len());
        taken
            .0
            .retain(|vector| self.begin(vector, &mut transaction, &mut round));
        for vector in self.relayed() {
            // One that gets no GSI shows that the others get none either.
            if !self.begin(&vector, &mut transaction, &mut round) {
                break;
            }
            taken.0.push(vector);
        }
        commit_staged(&taken.0, transaction, &mut |vector, committed| {
            self.end(vector, committed, &mut round);
        });
        taken.0.clear();
        round
    }

    /// Whether the vector's route is to be committed.
    fn begin(
        self: &Arc<Self>,
        vector: &Arc<Inner>,
        transaction: &mut Transaction,
        round: &mut Round,
    ) -> bool {
        match vector.begin_round(self, transaction) {
            Begun::Wanted => return true,
            Begun::Skipped => {}
            Begun::Failed(error) => self.failed(vector, error, round),
        }
        false
    }

    fn take(&self) -> Vec<Arc<Inner>> {
        let waiting = std::mem::take(&mut self.waiting.lock().vectors);
        waiting
            .iter()
            .filter_map(std::sync::Weak::upgrade)
            .collect()
    }

    fn end(
        self: &Arc<Self>,
        vector: &Arc<Inner>,
        committed: Result<(), Arc<Error>>,
        round: &mut Round,
    ) {
        match vector.end_round(self, committed) {
            Ok(armed) => round.armed += usize::from(armed),
            Err(error) => self.failed(vector, error, round),
        }
    }

    fn failed(&self, vector: &Arc<Inner>, error: Arc<Error>, round: &mut Round) {
        if error.is_transient() {
            vector.retry(self);
        }
        round.failed.push((vector.handle(), error));
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Round`]: one commit for all that wait, then their irqfds.

use std::sync::Arc;

use super::Shared;
use crate::vector::{Inner, Verdict};
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

impl Shared {
    pub(super) fn run(self: &Arc<Self>) -> Round {
        let _one_at_a_time = self.round.lock();
        let mut round = Round::default();
        // Before the vectors are taken: what comes after that signals anew.
        let _ = self.ready.consume();
        let mut vectors = self.take();
        round.relayed = self.relay_signals();
        vectors.retain(|vector| vector.begin_round(self));
        // One that gets no GSI shows that the others get none either.
        let relayed = self.relayed();
        vectors.extend(
            relayed
                .into_iter()
                .take_while(|vector| vector.begin_round(self)),
        );
        self.commit(&vectors, &mut round);
        round
    }

    fn take(&self) -> Vec<Arc<Inner>> {
        let waiting = std::mem::take(&mut self.waiting.lock().vectors);
        waiting
            .iter()
            .filter_map(std::sync::Weak::upgrade)
            .collect()
    }

    /// Commits the routes of all, or of each half by itself if they are refused, so that the guilty one
    /// alone fails.
    fn commit(self: &Arc<Self>, vectors: &[Arc<Inner>], round: &mut Round) {
        if vectors.is_empty() {
            return;
        }
        let mut transaction = self.table.transaction();
        for vector in vectors {
            vector.stage_round(&mut transaction);
        }
        match (transaction.commit(), vectors) {
            (Ok(()), vectors) => {
                for vector in vectors {
                    self.end(vector, Ok(()), round);
                }
            }
            (Err(rejected), [vector]) => self.end(vector, Err(rejected.error), round),
            (Err(_), vectors) => {
                let (first, second) = vectors.split_at(vectors.len() / 2);
                self.commit(first, round);
                self.commit(second, round);
            }
        }
    }

    fn end(
        self: &Arc<Self>,
        vector: &Arc<Inner>,
        committed: Result<(), irq_routing::Error>,
        round: &mut Round,
    ) {
        match vector.end_round(committed) {
            Verdict::Done(Ok(armed)) => round.armed += usize::from(armed),
            Verdict::Done(Err(error)) => {
                if error.is_transient() {
                    vector.retry(self);
                }
                round.failed.push((vector.handle(), error));
            }
            Verdict::Again => vector.arm_again(self),
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Batch`]: vectors that one access of the guest unmasks.

use std::sync::Arc;

use irq_routing::MsiMessage;

use super::control::Arm;
use super::{Inner, Vector, Verdict};
use crate::Error;
use crate::sync::atomic::Ordering;

/// Unmasks vectors at once and commits what they need later, all with one commit.
///
/// What unmasks a vector is a write to a register, under the lock that orders such writes. The commit
/// goes without that lock, so that nobody who masks a vector meanwhile waits for it.
#[derive(Default)]
#[must_use = "what was unmasked is not armed until it is run"]
pub(crate) struct Batch {
    vectors: Vec<Arc<Inner>>,
}

impl Batch {
    /// Gives a masked vector its message and unmasks it. An internal one is open when this returns; an
    /// exported one that has a queue waits there.
    pub(crate) fn unmask(&mut self, vector: &Vector, message: MsiMessage) {
        if vector.inner.begin_unmask(message) {
            self.vectors.push(Arc::clone(&vector.inner));
        }
    }

    /// Makes a vector that is not masked send another message.
    #[allow(dead_code)]
    pub(crate) fn retarget(&mut self, vector: &Vector, message: MsiMessage) {
        if vector.message() != message {
            vector.mask();
            self.unmask(vector, message);
        }
    }

    /// Commits the routes and arms the irqfds, until nothing else is wanted of these vectors.
    pub(crate) fn run(mut self) {
        while !self.vectors.is_empty() {
            let vectors = std::mem::take(&mut self.vectors);
            self.commit(&vectors);
        }
    }

    /// Commits the routes of all, or of each half by itself if they are refused, so that the guilty one
    /// alone fails.
    fn commit(&mut self, vectors: &[Arc<Inner>]) {
        let Some(first) = vectors.first() else {
            return;
        };
        let mut transaction = first.table.transaction();
        let mut routed = Vec::with_capacity(vectors.len());
        for vector in vectors {
            match vector.lease_for_batch() {
                Ok(()) => {
                    vector.stage_round(&mut transaction);
                    routed.push(Arc::clone(vector));
                }
                Err(error) => self.end(vector, Err(error)),
            }
        }
        match (transaction.commit(), routed.as_slice()) {
            (Ok(()), routed) => routed.iter().for_each(|vector| self.end(vector, Ok(()))),
            (Err(rejected), [vector]) => self.end(vector, Err(rejected.error)),
            (Err(_), routed) => {
                let (first, second) = routed.split_at(routed.len() / 2);
                self.commit(first);
                self.commit(second);
            }
        }
    }

    fn end(&mut self, vector: &Arc<Inner>, committed: Result<(), irq_routing::Error>) {
        let committed = committed.map_err(|error| Arc::new(Error::of_route(error)));
        match vector.end_round(committed) {
            // If it failed, the vector's state says so.
            Verdict::Done(_) => {}
            Verdict::Again => self.vectors.push(Arc::clone(vector)),
        }
    }
}

impl Inner {
    /// Unmasks the vector with this message. Answers whether its route is left to be committed, by
    /// whoever asked.
    fn begin_unmask(self: &Arc<Self>, message: MsiMessage) -> bool {
        let mut control = self.control.lock();
        if !control.masked {
            return false;
        }
        control.masked = false;
        self.message.store(message);
        if !self.exported.is_some() {
            self.refusal.store(0, Ordering::Relaxed);
            if let Some(pass) = self.gate.open() {
                // If it is refused, the state says so.
                let _ = self.inject(pass);
            }
            return false;
        }
        if matches!(control.arm, Arm::Arming { .. }) {
            control.arm = Arm::Arming { again: true };
            return false;
        }
        if let Some(queue) = &self.queue
            && self.enter(&mut control, queue)
        {
            control.arm = Arm::Queued;
            queue.wake();
            return false;
        }
        control.arm = Arm::Arming { again: false };
        true
    }

    /// Takes a GSI for a vector that is still to be armed.
    fn lease_for_batch(&self) -> Result<(), irq_routing::Error> {
        let mut control = self.control.lock();
        let wanted = !control.masked && self.exported.is_some();
        if wanted && control.lease.is_none() {
            control.lease = Some(self.table.lease()?);
        }
        Ok(())
    }
}

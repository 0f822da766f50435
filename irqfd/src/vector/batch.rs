// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Batch`]: vectors that one access of the guest unmasks.

use std::sync::Arc;

use irq_routing::MsiMessage;

use super::commit::commit;
use super::control::Verdict;
use super::{Inner, Vector};
use crate::Error;

/// Unmasks vectors at once and commits what they need later, all with one commit.
///
/// What unmasks a vector is a write to a register, under the lock that orders such writes. The commit
/// goes without that lock, so that nobody who masks a vector meanwhile waits for it. Dropping a batch that
/// was not run gives its vectors up, as a panic of the machine does.
#[derive(Default)]
#[must_use = "what was unmasked is not armed until it is run"]
pub(crate) struct Batch {
    vectors: Vec<Arc<Inner>>,
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.vectors.iter().for_each(Inner::abandon);
    }
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
    pub(crate) fn retarget(&mut self, vector: &Vector, message: MsiMessage) {
        if vector.message() != message {
            vector.mask();
            self.unmask(vector, message);
        }
    }

    /// Commits the routes and arms the irqfds, until nothing else is wanted of these vectors. If that fails
    /// their states say so.
    pub(crate) fn run(mut self) {
        while !self.vectors.is_empty() {
            let mut again = Vec::new();
            let mut end = |vector: &Arc<Inner>, committed| {
                let mut control = vector.control.lock();
                match vector.conclude(&mut control, committed) {
                    Verdict::Done(_) => {}
                    // Nobody else sees to it before the next commit.
                    Verdict::Again => again.push(Arc::clone(vector)),
                }
            };
            let mut leased = self.vectors.clone();
            leased.retain(|vector| match vector.lease_for_batch() {
                Ok(()) => true,
                Err(source) => {
                    end(vector, Err(Arc::new(Error::of_route(source))));
                    false
                }
            });
            commit(&leased, &mut end);
            self.vectors = again;
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
            // If it is refused, the state says so.
            let _ = self.open();
            return false;
        }
        self.begin_arming(&mut control)
    }

    /// Takes a GSI for a vector that is still to be armed.
    fn lease_for_batch(&self) -> Result<(), irq_routing::Error> {
        let mut control = self.control.lock();
        if control.masked || !self.exported.is_some() {
            return Ok(());
        }
        self.take_lease(&mut control)
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How an exported vector gets a GSI, a route and an irqfd: in this order, and the first two but once.
//!
//! A commit may take a while and goes without the vector's lock. One thread at a time is at it for a
//! vector; what others want meanwhile it finds when it is done, just before the irqfd would be armed.
//! So an old message can never be committed after a new one, and a mask need not wait.

use std::sync::Arc;

use irq_routing::Transaction;

use super::control::{Arm, Control, Verdict};
use super::{Inner, Vector};
use crate::Error;
use crate::queue::{Relay, Shared};
use crate::sync::MutexGuard;
use crate::sync::atomic::Ordering;

/// What the round has to do with a vector.
#[derive(Debug)]
pub(crate) enum Begun {
    /// Its route is to be committed.
    Wanted,
    /// Nothing.
    Skipped,
    /// It cannot be armed, nor relayed.
    Failed(Arc<Error>),
}

/// A commit without the vector's lock, for as long as it is not forgotten.
struct Unfinished<'a>(&'a Arc<Inner>);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Inner {
    /// Sees to it that the vector is armed: now, or by the queue's owner.
    pub(super) fn arm(self: &Arc<Self>, mut control: MutexGuard<'_, Control>) -> Result<(), Error> {
        if !self.begin_arming(&mut control) {
            return Ok(());
        }
        self.arm_now(control).map(drop).map_err(Error::Dead)
    }

    /// Leaves it to whoever is at it already, or to the queue's owner, to arm the vector. Answers whether
    /// there is neither, so that whoever asked is to commit its route.
    pub(super) fn begin_arming(self: &Arc<Self>, control: &mut Control) -> bool {
        self.refusal.store(0, Ordering::Relaxed);
        if matches!(control.arm, Arm::Arming { .. }) {
            control.arm = Arm::Arming { again: true };
            return false;
        }
        if let Some(queue) = &self.queue
            && self.enter(control, queue)
        {
            control.arm = Arm::Queued;
            queue.wake();
            return false;
        }
        control.arm = Arm::Arming { again: false };
        true
    }

    /// Commits the route and arms the irqfd, until nothing else is wanted. Answers whether it is armed.
    fn arm_now<'a>(
        self: &'a Arc<Self>,
        mut control: MutexGuard<'a, Control>,
    ) -> Result<bool, Arc<Error>> {
        loop {
            let committed = match self.take_lease(&mut control) {
                Ok(()) => {
                    let mut transaction = self.table.transaction();
                    self.stage(&control, &mut transaction);
                    drop(control);
                    let unfinished = Unfinished(self);
                    let result = transaction.commit();
                    std::mem::forget(unfinished);
                    control = self.control.lock();
                    result.map_err(|rejected| Arc::new(Error::of_route(rejected.error)))
                }
                Err(source) => Err(Arc::new(Error::of_route(source))),
            };
            match self.conclude(&mut control, committed) {
                Verdict::Done(result) => return result,
                Verdict::Again => {}
            }
        }
    }

    pub(super) fn take_lease(&self, control: &mut Control) -> Result<(), irq_routing::Error> {
        if control.lease.is_none() {
            control.lease = Some(self.table.lease()?);
        }
        Ok(())
    }

    /// Adds the vector's route to a transaction.
    pub(super) fn stage(&self, control: &Control, transaction: &mut Transaction) {
        if let Some(lease) = &control.lease {
            transaction.route(lease, self.message.load());
        }
    }

    /// Looks at what is wanted now that the route was committed, and arms if it is that.
    pub(super) fn conclude(
        &self,
        control: &mut Control,
        committed: Result<(), Arc<Error>>,
    ) -> Verdict {
        let again = match control.arm {
            Arm::Arming { again } => again,
            // Not reached: only the one who commits ends this.
            _ => return Verdict::Done(Ok(false)),
        };
        let exported = self.exported.get().filter(|_| !control.masked);
        let Some(notifier) = exported else {
            control.arm = Arm::Off;
            return Verdict::Done(Ok(false));
        };
        if again {
            control.arm = Arm::Arming { again: false };
            return Verdict::Again;
        }
        let armed = committed.and_then(|()| control.bind(&notifier).map_err(Arc::new));
        Verdict::Done(armed.map(|()| true).inspect_err(|error| {
            control.arm = Arm::Dead(Arc::clone(error));
        }))
    }
}

/// What the owner of a queue does with a vector.
impl Inner {
    /// Makes sure that the queue has an entry for the vector, unless the owner is gone. One that nobody
    /// wanted any more will do.
    pub(super) fn enter(self: &Arc<Self>, control: &mut Control, queue: &Shared) -> bool {
        control.in_queue = control.in_queue || queue.push(self);
        control.in_queue
    }

    /// Takes the vector out of the queue, with a GSI for it, and adds its route to the round's transaction.
    /// If no GSI is free its signals are relayed.
    pub(crate) fn begin_round(
        self: &Arc<Self>,
        queue: &Arc<Shared>,
        transaction: &mut Transaction,
    ) -> Begun {
        let mut control = self.control.lock();
        control.in_queue = false;
        // A masked vector is in none of these.
        let wanted = match &control.arm {
            Arm::Queued | Arm::Relayed { .. } => true,
            Arm::Dead(reason) => reason.is_transient(),
            Arm::Off | Arm::Arming { .. } | Arm::Armed(_) => false,
        };
        if !wanted {
            return Begun::Skipped;
        }
        match self.take_lease(&mut control) {
            Ok(()) => {
                control.arm = Arm::Arming { again: false };
                self.stage(&control, transaction);
                Begun::Wanted
            }
            Err(_) if matches!(control.arm, Arm::Relayed { .. }) => Begun::Skipped,
            Err(source) => match self.relayed(queue, source) {
                Ok(relay) => {
                    control.arm = Arm::Relayed { _relay: relay };
                    Begun::Skipped
                }
                Err(error) => {
                    let error = Arc::new(error);
                    control.arm = Arm::Dead(Arc::clone(&error));
                    Begun::Failed(error)
                }
            },
        }
    }

    fn relayed(
        self: &Arc<Self>,
        queue: &Arc<Shared>,
        source: irq_routing::Error,
    ) -> Result<Relay, Error> {
        match self.exported.get() {
            Some(notifier) if self.signals() => {
                Relay::new(queue, self, notifier).map_err(|source| Error::Relay { source })
            }
            _ => Err(Error::Lease { source }),
        }
    }

    /// Arms the vector now that its route was committed, or enters it anew if something else is wanted.
    /// Answers whether it is armed.
    pub(crate) fn end_round(
        self: &Arc<Self>,
        queue: &Shared,
        committed: Result<(), Arc<Error>>,
    ) -> Result<bool, Arc<Error>> {
        let mut control = self.control.lock();
        match self.conclude(&mut control, committed) {
            Verdict::Done(result) => result,
            Verdict::Again if self.enter(&mut control, queue) => {
                control.arm = Arm::Queued;
                queue.wake();
                Ok(false)
            }
            // The owner is gone: this was the last round.
            Verdict::Again => self.arm_now(control),
        }
    }

    /// Enters the vector for the next round that there is, because what failed may succeed then.
    pub(crate) fn retry(self: &Arc<Self>, queue: &Shared) {
        let mut control = self.control.lock();
        self.enter(&mut control, queue);
    }

    /// Gives up what a panic has interrupted: of the machine or of the table's translation.
    pub(crate) fn abandon(self: &Arc<Self>) {
        let mut control = self.control.lock();
        if matches!(control.arm, Arm::Queued | Arm::Arming { .. }) {
            control.arm = Arm::Dead(Arc::new(Error::Abandoned));
            if let Some(queue) = &self.queue {
                // The round had taken its entry.
                control.in_queue = false;
                self.enter(&mut control, queue);
            }
        }
    }

    /// Sends a message if the vector is relayed still and its notifier is signalled.
    pub(crate) fn relay(&self) -> bool {
        let control = self.control.lock();
        let notifier = self.exported.get();
        if let (Arm::Relayed { .. }, Some(notifier)) = (&control.arm, notifier)
            && let Ok(Some(_)) = notifier.consume()
        {
            // One that the kernel refuses is lost, and the state says so.
            return self.signal().is_ok();
        }
        false
    }

    /// Ends the relaying of a vector whose queue is gone.
    pub(crate) fn end_relay(&self, reason: Error) {
        let mut control = self.control.lock();
        if matches!(control.arm, Arm::Relayed { .. }) {
            control.arm = Arm::Dead(Arc::new(reason));
        }
    }

    pub(crate) fn handle(self: &Arc<Self>) -> Vector {
        let inner = Arc::clone(self);
        Vector { inner }
    }
}

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

impl Inner {
    /// Sees to it that the vector is armed: now, or by the queue's owner.
    pub(super) fn arm(self: &Arc<Self>, mut control: MutexGuard<'_, Control>) -> Result<(), Error> {
        if matches!(control.arm, Arm::Arming { .. }) {
            control.arm = Arm::Arming { again: true };
            return Ok(());
        }
        if let Some(queue) = &self.queue {
            // An entry that nobody wants any more is there still: it will do.
            if control.in_queue || queue.push(self) {
                control.in_queue = true;
                control.arm = Arm::Queued;
                return Ok(());
            }
        }
        control.arm = Arm::Arming { again: false };
        self.arm_now(control).map_err(Error::Dead)
    }

    /// Commits the route and arms the irqfd, until nothing else is wanted.
    fn arm_now<'a>(
        self: &'a Arc<Self>,
        mut control: MutexGuard<'a, Control>,
    ) -> Result<(), Arc<Error>> {
        loop {
            let committed = match self.take_lease(&mut control) {
                Ok(()) => {
                    let mut transaction = self.table.transaction();
                    self.stage(&control, &mut transaction);
                    drop(control);
                    let result = transaction.commit();
                    control = self.control.lock();
                    result.map_err(|rejected| rejected.error)
                }
                Err(error) => Err(error),
            };
            match self.conclude(&mut control, committed) {
                Verdict::Done(result) => return result.map(drop),
                Verdict::Again => {}
            }
        }
    }

    fn take_lease(&self, control: &mut Control) -> Result<(), irq_routing::Error> {
        if control.lease.is_none() {
            control.lease = Some(self.table.lease()?);
        }
        Ok(())
    }

    fn stage(&self, control: &Control, transaction: &mut Transaction) {
        if let Some(lease) = &control.lease {
            transaction.route(lease, self.message.load());
        }
    }

    /// Looks at what is wanted now that the route was committed, and arms if it is that.
    fn conclude(
        &self,
        control: &mut Control,
        committed: Result<(), irq_routing::Error>,
    ) -> Verdict {
        let again = match control.arm {
            Arm::Arming { again } => again,
            // Not reached: only the one who commits ends this.
            _ => return Verdict::Done(Ok(false)),
        };
        let exported = self.exported.load_full().filter(|_| !control.masked);
        let Some(notifier) = exported else {
            control.arm = Arm::Off;
            return Verdict::Done(Ok(false));
        };
        if again {
            control.arm = Arm::Arming { again: false };
            return Verdict::Again;
        }
        let armed = match committed {
            Ok(()) => control.bind(&notifier),
            Err(source @ irq_routing::Error::Exhausted { .. }) => Err(Error::Lease { source }),
            Err(source) => Err(Error::Commit { source }),
        };
        Verdict::Done(armed.map(|()| true).map_err(|error| {
            let error = Arc::new(error);
            control.arm = Arm::Dead(Arc::clone(&error));
            error
        }))
    }
}

/// What the owner of a queue does with a vector.
impl Inner {
    /// Takes the vector out of the queue, with a GSI for it. `None` if it is not wanted any more, or
    /// if no GSI is free: then its signals are relayed.
    pub(crate) fn begin_round(self: &Arc<Self>, queue: &Arc<Shared>) -> bool {
        let mut control = self.control.lock();
        control.in_queue = false;
        let waits = matches!(control.arm, Arm::Queued | Arm::Relayed { .. });
        let retried = matches!(&control.arm, Arm::Dead(reason) if reason.is_transient());
        if control.masked || !(waits || retried) {
            return false;
        }
        match self.take_lease(&mut control) {
            Ok(()) => {
                control.arm = Arm::Arming { again: false };
                true
            }
            Err(source) => {
                if !matches!(control.arm, Arm::Relayed { .. }) {
                    control.arm = self.relayed(queue, source);
                }
                false
            }
        }
    }

    fn relayed(self: &Arc<Self>, queue: &Arc<Shared>, source: irq_routing::Error) -> Arm {
        let dead = |error| Arm::Dead(Arc::new(error));
        match self.exported.load_full() {
            Some(notifier) if self.signals() => match Relay::new(queue, self, notifier) {
                Ok(relay) => Arm::Relayed { _relay: relay },
                Err(source) => dead(Error::Relay { source }),
            },
            _ => dead(Error::Lease { source }),
        }
    }

    /// Adds the vector's route to a round's transaction, if it is still wanted.
    pub(crate) fn stage_round(&self, transaction: &mut Transaction) {
        let control = self.control.lock();
        if !control.masked {
            self.stage(&control, transaction);
        }
    }

    pub(crate) fn end_round(&self, committed: Result<(), irq_routing::Error>) -> Verdict {
        let mut control = self.control.lock();
        self.conclude(&mut control, committed)
    }

    /// Enters the vector anew, because something else is wanted than what was committed.
    pub(crate) fn arm_again(self: &Arc<Self>, queue: &Shared) {
        let mut control = self.control.lock();
        if !matches!(control.arm, Arm::Arming { .. }) {
            return;
        }
        control.in_queue = control.in_queue || queue.push(self);
        if control.in_queue {
            control.arm = Arm::Queued;
        } else {
            // The owner is gone. If it fails the state says so.
            let _ = self.arm_now(control);
        }
    }

    /// Enters the vector for the next round that there is, because what failed may succeed then.
    pub(crate) fn retry(self: &Arc<Self>, queue: &Shared) {
        let mut control = self.control.lock();
        control.in_queue = control.in_queue || queue.push_for(self, false);
    }

    /// Sends a message for what the notifier has, if the vector is relayed still.
    pub(crate) fn relay(&self) {
        let control = self.control.lock();
        let exported = self.exported.load();
        if let (Arm::Relayed { .. }, Some(notifier)) = (&control.arm, &*exported)
            && let Ok(Some(_)) = notifier.consume()
        {
            // One that the kernel refuses is lost, as it is where an irqfd has it.
            let _ = self.signal();
        }
    }

    /// Ends the relaying of a vector whose queue is gone.
    pub(crate) fn end_relay(&self, reason: Error) {
        let mut control = self.control.lock();
        if matches!(control.arm, Arm::Relayed { .. } | Arm::Queued) {
            control.arm = Arm::Dead(Arc::new(reason));
        }
    }

    pub(crate) fn handle(self: &Arc<Self>) -> Vector {
        let inner = Arc::clone(self);
        Vector { inner }
    }
}

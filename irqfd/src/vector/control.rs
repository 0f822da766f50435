// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Control`]: what the guest and the VMM change of a vector, behind its lock.

use std::sync::Arc;

use irq_routing::{GsiLease, MsiMessage};
use notify_core::EventNotifier;

use super::Inner;
use crate::queue::Relay;
use crate::sync::atomic::Ordering;
use crate::{Error, IrqFd, IrqFdBuilder, IrqSource};

#[derive(Debug)]
pub(super) struct Control {
    pub(super) masked: bool,
    /// Of an exported vector, unless the irqfd has it.
    pub(super) lease: Option<GsiLease>,
    pub(super) arm: Arm,
    /// Whether the queue has an entry for the vector, be it still wanted or not.
    pub(super) in_queue: bool,
}

/// How far an exported vector is.
#[derive(Debug, Default)]
pub(super) enum Arm {
    /// Nothing is armed, and nobody is about to.
    #[default]
    Off,
    /// The queue's owner will arm it.
    Queued,
    /// Somebody commits its route, without the lock, and looks here again when that is done.
    Arming {
        /// What was to be armed has changed since.
        again: bool,
    },
    Armed(IrqFd),
    /// The queue's owner sends its messages.
    Relayed {
        _relay: Relay,
    },
    Dead(Arc<Error>),
}

/// What remains to be done when a route was committed.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Nothing. Answers whether it is armed now, or why it cannot be.
    Done(Result<bool, Arc<Error>>),
    /// All of it, since something else is wanted now.
    Again,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            masked: true,
            lease: None,
            arm: Arm::Off,
            in_queue: false,
        }
    }
}

impl Control {
    /// Takes off what is armed, so that nothing is injected any more when this returns. If somebody commits
    /// the route, that one finds out when it is done.
    pub(super) fn disarm(&mut self) {
        // What does not go is dropped here: that tries again, and otherwise keeps the GSI out of use.
        let _ = self.take_off();
        if !matches!(self.arm, Arm::Arming { .. }) {
            self.arm = Arm::Off;
        }
    }

    /// Takes the irqfd off if there is one. If that fails it is armed still.
    pub(super) fn take_off(&mut self) -> Result<(), Error> {
        match std::mem::take(&mut self.arm) {
            Arm::Armed(irq) => match irq.deassign() {
                Ok(builder) => self.keep(builder),
                Err(rejected) => {
                    self.arm = Arm::Armed(rejected.value);
                    return Err(rejected.error);
                }
            },
            other => self.arm = other,
        }
        Ok(())
    }

    /// Keeps the GSI of an irqfd that is not armed.
    fn keep(&mut self, builder: IrqFdBuilder) {
        if let (IrqSource::Lease(lease), _) = builder.into_parts() {
            self.lease = Some(lease);
        }
    }

    /// Arms a notifier on the vector's GSI. If that fails nothing is armed. One that is full is left so: a trigger
    /// that finds it full empties it, and to look at each of many would cost as much as a tenth of a bring-up.
    pub(super) fn bind(&mut self, notifier: &Arc<EventNotifier>) -> Result<(), Error> {
        // It is there: nobody is armed who has not committed its route.
        let lease = self.lease.take().ok_or(Error::NoLease)?;
        match IrqFd::builder(lease)
            .notifier(Arc::clone(notifier))
            .assign_as_it_is()
        {
            Ok(irq) => {
                self.arm = Arm::Armed(irq);
                Ok(())
            }
            Err(rejected) => {
                self.keep(rejected.value);
                Err(rejected.error)
            }
        }
    }
}

impl Inner {
    pub(super) fn mask(&self) {
        let mut control = self.control.lock();
        if control.masked {
            return;
        }
        control.masked = true;
        if self.exported.is_some() {
            control.disarm();
        } else {
            self.gate.close();
        }
    }

    pub(super) fn unmask(self: &Arc<Self>) -> Result<(), Error> {
        let mut control = self.control.lock();
        if !control.masked {
            return Ok(());
        }
        control.masked = false;
        if self.exported.is_some() {
            self.arm(control)
        } else {
            self.open()
        }
    }

    /// Lets triggers of an internal vector through, under the vector's lock.
    pub(super) fn open(&self) -> Result<(), Error> {
        self.refusal.store(0, Ordering::Relaxed);
        let kept = self.gate.open();
        kept.map_or(Ok(()), |pass| self.inject(pass).map(drop))
    }

    pub(super) fn set_message(self: &Arc<Self>, message: MsiMessage) -> Result<(), Error> {
        let mut control = self.control.lock();
        // The same message once more is a second chance for a dead vector.
        if self.message.load() == message && !self.is_dead(&control) {
            return Ok(());
        }
        if !self.exported.is_some() {
            if control.masked {
                self.message.store(message);
                return Ok(());
            }
            self.gate.close();
            self.message.store(message);
            return self.open();
        }
        self.message.store(message);
        self.refusal.store(0, Ordering::Relaxed);
        match control.arm {
            // It is read when its turn comes.
            Arm::Queued | Arm::Relayed { .. } => Ok(()),
            _ if control.masked => Ok(()),
            _ => {
                control.disarm();
                self.arm(control)
            }
        }
    }

    fn is_dead(&self, control: &Control) -> bool {
        matches!(control.arm, Arm::Dead(_)) || self.refusal().is_some()
    }

    pub(super) fn is_pending(&self) -> bool {
        let control = self.control.lock();
        match (self.exported.get(), &control.arm) {
            (None, _) => self.gate.is_pending(),
            // KVM takes all that comes.
            (Some(_), Arm::Armed(_)) => false,
            (Some(notifier), _) => notifier.is_signalled().unwrap_or(false),
        }
    }

    pub(super) fn clear_pending(&self) {
        let control = self.control.lock();
        match self.exported.get() {
            None => drop(self.gate.take_pending()),
            Some(notifier) if !matches!(control.arm, Arm::Armed(_)) => drop(notifier.consume()),
            Some(_) => {}
        }
    }
}

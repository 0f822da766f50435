// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Control`]: what the guest and the VMM change of a vector, behind its lock.
//!
//! A vector that is to be armed or opened needs work that may take a while, and that goes without
//! this lock: its route is committed, or its message translated. Each change of the vector begins a
//! new *turn*, and its caller works for that turn alone. If the vector has changed when the work is
//! done, it has another turn, whose caller works for it; what was done for the old one is dropped.
//! So a mask waits for no work, a caller never works for others, and nothing old is armed or opened
//! after something new.

use std::sync::Arc;

use irq_routing::{GsiLease, MsiMessage};
use notify_core::EventNotifier;

use super::Inner;
use super::committer::{Start, Task};
use crate::queue::Relay;
use crate::sync::atomic::Ordering;
use crate::{Error, IrqFd, IrqFdBuilder, IrqSource};

#[derive(Debug)]
pub(super) struct Control {
    pub(super) masked: bool,
    /// What the guest has set.
    pub(super) message: MsiMessage,
    /// Of an exported vector, unless the irqfd has it.
    pub(super) lease: Option<GsiLease>,
    pub(super) arm: Arm,
    /// Counts the changes.
    pub(super) turn: u64,
    /// Counts how often the table's translation has changed.
    pub(super) retranslated: u64,
    /// The access of the guest that has unmasked it last.
    pub(super) access: u64,
    /// Whether it was logged that the vector is dead.
    pub(super) logged: bool,
}

/// How far a vector is that is exported, or is to be opened.
#[derive(Debug, Default)]
pub(super) enum Arm {
    /// Nothing is armed, and nothing is on its way. An internal vector that is not masked is open.
    #[default]
    Off,
    /// The queue has an entry for the vector, and its owner will arm it, unless it is masked. With
    /// the reason why that has failed before.
    Queued(Option<Arc<Error>>),
    /// The caller of this turn is at work, or is about to be. One that was relayed is relayed again
    /// if that fails for a reason that may pass.
    Arming(Option<Relay>),
    Armed(IrqFd),
    /// The queue's owner sends its messages.
    Relayed(Relay),
    Dead(Arc<Error>),
}

impl Default for Control {
    fn default() -> Self {
        Self {
            masked: true,
            message: MsiMessage::default(),
            lease: None,
            arm: Arm::Off,
            turn: 0,
            retranslated: 0,
            access: 0,
            logged: false,
        }
    }
}

impl Control {
    /// Takes off what is armed, so that nothing is injected any more when this returns, and ends
    /// what is on its way.
    pub(super) fn disarm(&mut self) {
        self.turn += 1;
        // What does not go is dropped here: that tries again, and otherwise keeps the GSI out of
        // use.
        let _ = self.take_off();
        self.arm = match std::mem::take(&mut self.arm) {
            Arm::Queued(_) => Arm::Queued(None),
            _ => Arm::Off,
        };
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

    /// Arms a notifier on the vector's GSI. If that fails nothing is armed. One that is full is
    /// left so: a trigger that finds it full empties it, and to look at each of many would cost as
    /// much as a tenth of a bring-up.
    pub(super) fn bind(&mut self, notifier: &Arc<EventNotifier>) -> Result<(), Error> {
        // It is there: nothing is armed before its route was committed.
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

    /// Whether KVM takes what comes to the notifier.
    fn is_armed(&self) -> bool {
        matches!(&self.arm, Arm::Armed(irq) if !irq.is_blocked())
    }
}

impl Inner {
    pub(super) fn mask(&self) {
        self.mask_locked(&mut self.control.lock());
    }

    /// In one step, so that a vector that is unmasked meanwhile is not left to a caller that does
    /// not arm it.
    pub(super) fn reset(&self) {
        let mut control = self.control.lock();
        self.mask_locked(&mut control);
        self.clear_pending_locked(&control);
        control.message = MsiMessage::default();
    }

    fn mask_locked(&self, control: &mut Control) {
        if control.masked {
            return;
        }
        control.masked = true;
        control.disarm();
        self.dead.store(false, Ordering::Relaxed);
        if !self.exported.is_some() {
            self.gate.close();
        }
    }

    /// Unmasks the vector. Returns what is left to be done without the lock.
    pub(super) fn begin_unmask(self: &Arc<Self>) -> Start {
        let mut control = self.control.lock();
        if !control.masked {
            return Start::Nothing;
        }
        control.masked = false;
        self.start(&mut control)
    }

    /// The same for an access of the guest, with this message.
    pub(super) fn begin_unmask_with(self: &Arc<Self>, message: MsiMessage, access: u64) -> Start {
        let mut control = self.control.lock();
        if !control.masked {
            return Start::Nothing;
        }
        control.masked = false;
        control.message = message;
        control.access = access;
        self.start(&mut control)
    }

    /// Begins to arm or open a vector that is not masked, and of which nothing is armed or open.
    pub(super) fn start(self: &Arc<Self>, control: &mut Control) -> Start {
        control.turn += 1;
        self.refusal.store(0, Ordering::Relaxed);
        self.dead.store(false, Ordering::Relaxed);
        if !self.exported.is_some() {
            control.arm = Arm::Arming(None);
            return Start::Settle;
        }
        if let Some(queue) = &self.queue
            && self.enter(control, None)
        {
            queue.wake();
            return Start::Nothing;
        }
        control.arm = Arm::Arming(None);
        Start::Task(Task::new(self, control))
    }

    /// Enters the vector in its queue, unless there is none or its owner is gone.
    pub(super) fn enter(
        self: &Arc<Self>,
        control: &mut Control,
        reason: Option<Arc<Error>>,
    ) -> bool {
        let Some(queue) = &self.queue else {
            return false;
        };
        let entered = matches!(control.arm, Arm::Queued(_)) || queue.push(self);
        if entered {
            control.arm = Arm::Queued(reason);
        }
        entered
    }

    pub(super) fn begin_set_message(self: &Arc<Self>, message: MsiMessage) -> Start {
        let mut control = self.control.lock();
        // The same message once more is a second chance for a dead vector.
        if control.message == message && !self.is_dead(&control) {
            return Start::Nothing;
        }
        control.message = message;
        if control.masked {
            return Start::Nothing;
        }
        if matches!(control.arm, Arm::Relayed(_)) && !self.table.translates() {
            control.turn += 1;
            self.refusal.store(0, Ordering::Relaxed);
            self.sent.store(Some(message));
            return Start::Nothing;
        }
        control.disarm();
        if !self.exported.is_some() {
            self.gate.close();
        }
        self.start(&mut control)
    }

    fn is_dead(&self, control: &Control) -> bool {
        match control.arm {
            Arm::Dead(_) | Arm::Queued(Some(_)) => true,
            Arm::Off | Arm::Relayed(_) => self.refusal().is_some(),
            _ => false,
        }
    }

    pub(super) fn is_pending(&self) -> bool {
        let control = self.control.lock();
        match self.exported.get() {
            None => self.gate.is_pending(),
            // KVM takes all that comes.
            Some(_) if control.is_armed() => false,
            Some(notifier) => notifier.is_signalled().unwrap_or(false),
        }
    }

    pub(super) fn clear_pending(&self) {
        self.clear_pending_locked(&self.control.lock());
    }

    fn clear_pending_locked(&self, control: &Control) {
        match self.exported.get() {
            None => drop(self.gate.take_pending()),
            Some(notifier) if !control.is_armed() => drop(notifier.consume()),
            Some(_) => {}
        }
    }

    /// The vector is dead from now on, for this reason, or until the queue's owner has tried again.
    pub(super) fn kill(self: &Arc<Self>, control: &mut Control, reason: Arc<Error>) {
        self.dead.store(true, Ordering::Relaxed);
        if !(reason.is_transient() && self.enter(control, Some(Arc::clone(&reason)))) {
            control.arm = Arm::Dead(reason);
        } else if let Some(queue) = &self.queue {
            queue.retry_later();
        }
    }
}

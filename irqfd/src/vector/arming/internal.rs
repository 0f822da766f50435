// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How an internal vector is opened, and how messages are translated anew.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use super::outcome::Outcome;
use crate::VectorError;
use crate::sync::atomic::Ordering;
use crate::vector::control::Arm;
use crate::vector::trigger::{Kind, is_delivered};
use crate::vector::{Dead, Inner};

impl Inner {
    /// Opens an internal vector that waits for it, with its message as it is translated now. A
    /// trigger that was kept is sent. If the vector has changed meanwhile, its new revision opens
    /// it.
    pub(in crate::vector) fn open_internal(&self) -> Result<(), VectorError> {
        let control = self.control.lock();
        if !matches!(control.arm, Arm::Arming) || !self.sends_message() {
            return Ok(());
        }
        let (revision, message) = (control.revision, control.message);
        drop(control);
        let translated = catch_unwind(AssertUnwindSafe(|| self.table.translate(message)));
        let mut control = self.control.lock();
        // Another caller may have opened the same revision.
        if control.revision != revision || !matches!(control.arm, Arm::Arming) {
            return translated.map_or_else(|panic| resume_unwind(panic), |_| Ok(()));
        }
        match translated {
            Ok(translated) => {
                control.arm = Arm::Off;
                self.sent.store(translated);
                let kept = self.gate.open();
                drop(control);
                let triggered = kept.and_then(|pass| self.inject(pass));
                self.observe_opened(is_delivered(&triggered));
                triggered.map_or(Ok(()), |triggered| triggered.map(drop))
            }
            // The gate stays closed.
            Err(panic) => {
                control.arm = Arm::Dead(VectorError::Panicked);
                self.dead.store(true, Ordering::Relaxed);
                drop(control);
                resume_unwind(panic)
            }
        }
    }

    /// The same for one of many. A panic for one does not affect the others.
    pub(in crate::vector) fn open_internal_in(self: &Arc<Self>, outcome: &mut Outcome) {
        match outcome.guard(|| self.open_internal()) {
            Some(Ok(())) => {}
            Some(Err(error)) => self.died(error, outcome),
            None => self.died(VectorError::Panicked, outcome),
        }
    }

    /// Whether nothing has changed since this revision began.
    pub(in crate::vector) fn is_at_revision(&self, revision: u64) -> bool {
        self.control.lock().revision == revision
    }

    fn died(self: &Arc<Self>, reason: VectorError, outcome: &mut Outcome) {
        let dead = Dead::new(self, reason);
        outcome.died(&mut self.control.lock(), dead);
    }

    /// Whether triggers send the message. Call it under the lock.
    fn sends_message(&self) -> bool {
        self.outlet.kind() == Kind::Message
    }

    /// A panic has come before an internal vector was opened.
    pub(in crate::vector) fn abandon(&self) {
        let mut control = self.control.lock();
        if matches!(control.arm, Arm::Arming) && self.sends_message() {
            control.revision += 1;
            control.arm = Arm::Dead(VectorError::Panicked);
            self.dead.store(true, Ordering::Relaxed);
        }
    }
}

impl Inner {
    /// The table's translation has changed: when this returns, no message is sent by the old one.
    pub(in crate::vector) fn retranslate(self: Arc<Self>) {
        let mut control = self.control.lock();
        match (self.sends_message(), &control.arm) {
            (false, Arm::Armed(irq)) => {
                if let Some(lost) = irq.lost() {
                    let reason = VectorError::from(lost);
                    self.kill(&mut control, reason.clone());
                    let mut outcome = Outcome::default();
                    outcome.died(&mut control, Dead::new(&self, reason));
                    drop(control);
                    outcome.finish();
                } else if !irq.is_blocked() {
                    // What was pending while the message was blocked.
                    self.deliver_pending(control);
                }
            }
            // Routes are translated by the table.
            (false, _) => {}
            (true, _) if !control.masks.is_none() => {}
            (true, _) => {
                control.revision += 1;
                control.arm = Arm::Arming;
                self.gate.close();
                self.dead.store(false, Ordering::Relaxed);
                // Another message may not be refused.
                self.refusal.store(0, Ordering::Relaxed);
                drop(control);
                // A refusal of a trigger that was kept is in the vector's state.
                if let Err(reason) = self.open_internal() {
                    self.observe_refused(&reason);
                }
            }
        }
    }
}

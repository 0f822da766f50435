// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How an internal vector is opened, and how messages are translated anew.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use irq_routing::Translated;

use super::committer::Outcome;
use super::control::{Arm, Control};
use super::{Dead, Inner};
use crate::Error;
use crate::sync::MutexGuard;
use crate::sync::atomic::Ordering;

impl Inner {
    /// Opens an internal vector that waits for it, with its message as it is translated now. A
    /// trigger that was kept is sent. If the vector has changed meanwhile, its new turn opens it.
    pub(super) fn settle(&self) -> Result<(), Error> {
        let control = self.control.lock();
        if !matches!(control.arm, Arm::Arming(_)) || self.exported.is_some() {
            return Ok(());
        }
        let (turn, message) = (control.turn, control.message);
        drop(control);
        let translated = catch_unwind(AssertUnwindSafe(|| self.table.translate(message)));
        let mut control = self.control.lock();
        // Another caller may have settled the same turn.
        if control.turn != turn || !matches!(control.arm, Arm::Arming(_)) {
            return translated.map_or_else(|panic| resume_unwind(panic), |_| Ok(()));
        }
        match translated {
            Ok(translated) => {
                control.arm = Arm::Off;
                self.sent.store(translated);
                let kept = self.gate.open();
                drop(control);
                kept.map_or(Ok(()), |pass| self.inject(pass).map(drop))
            }
            // The gate stays closed.
            Err(panic) => {
                control.arm = Arm::Dead(Arc::new(Error::Abandoned));
                self.dead.store(true, Ordering::Relaxed);
                drop(control);
                resume_unwind(panic)
            }
        }
    }

    /// The same for one of many, which a panic for one must not keep the others from.
    pub(super) fn settle_in(self: &Arc<Self>, outcome: &mut Outcome) {
        match outcome.guard(|| self.settle()) {
            Some(Ok(())) => {}
            Some(Err(error)) => self.died(error, outcome),
            None => self.died(Error::Abandoned, outcome),
        }
    }

    fn died(self: &Arc<Self>, reason: Error, outcome: &mut Outcome) {
        let dead = Dead::new(self, Arc::new(reason));
        outcome.died(&mut self.control.lock(), dead);
    }

    /// A panic has come before an internal vector was opened.
    pub(super) fn abandon(&self) {
        let mut control = self.control.lock();
        if matches!(control.arm, Arm::Arming(_)) && !self.exported.is_some() {
            control.turn += 1;
            control.arm = Arm::Dead(Arc::new(Error::Abandoned));
            self.dead.store(true, Ordering::Relaxed);
        }
    }

    /// Translates the message of a relayed vector anew, or of one that is relayed again if it
    /// cannot be armed.
    fn retranslate_relayed(self: &Arc<Self>, control: MutexGuard<'_, Control>) {
        let (retranslated, message) = (control.retranslated, control.message);
        drop(control);
        let translated = catch_unwind(AssertUnwindSafe(|| self.table.translate(message)));
        let mut control = self.control.lock();
        if control.retranslated == retranslated && control.message == message {
            match (&translated, &control.arm) {
                (Ok(translated), _) => {
                    self.sent.store(*translated);
                    self.refusal.store(0, Ordering::Relaxed);
                }
                // Nothing must go where the old translation led.
                (Err(_), Arm::Relayed(_) | Arm::Arming(Some(_))) => {
                    control.disarm();
                    self.kill(&mut control, Arc::new(Error::Abandoned));
                }
                (Err(_), _) => {}
            }
        }
        drop(control);
        if let Err(panic) = translated {
            resume_unwind(panic);
        }
    }
}

impl Translated for Inner {
    fn retranslate(self: Arc<Self>) {
        let mut control = self.control.lock();
        control.retranslated += 1;
        match (self.exported.is_some(), &control.arm) {
            (true, Arm::Relayed(_) | Arm::Arming(Some(_))) => self.retranslate_relayed(control),
            (true, Arm::Armed(irq)) => {
                if let Some(reason) = irq.lost() {
                    control.disarm();
                    self.kill(&mut control, Arc::clone(&reason));
                    let mut outcome = Outcome::default();
                    outcome.died(&mut control, Dead::new(&self, reason));
                    drop(control);
                    outcome.finish();
                }
            }
            // Routes are translated by the table.
            (true, _) => {}
            (false, _) if control.masked => {}
            (false, _) => {
                control.turn += 1;
                control.arm = Arm::Arming(None);
                self.gate.close();
                // Another message may not be refused.
                self.refusal.store(0, Ordering::Relaxed);
                drop(control);
                // A refusal of a trigger that was kept is in the vector's state.
                let _ = self.settle();
            }
        }
    }
}

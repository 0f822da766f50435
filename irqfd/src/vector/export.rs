// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Handing a vector's notifier out, exchanging it, and taking it back.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use notify_core::{EventFdMode, EventNotifier};

use super::Inner;
use super::committer::Start;
use super::control::{Arm, Control, OwnGsi};
use crate::bound::empty_if_full;
use crate::{Error, Rejected};

/// What is left to be done for an exchange, without the vector's lock.
#[must_use = "the vector waits for it"]
pub(super) struct Exchanged {
    /// The notifier that was replaced.
    pub(super) old: Option<Arc<EventNotifier>>,
    /// A trigger was kept, or a signal is to be taken over, so the vector is triggered.
    pub(super) trigger: bool,
    pub(super) start: Start,
}

impl Inner {
    pub(super) fn export(self: &Arc<Self>) -> Result<(Arc<EventNotifier>, Exchanged), Error> {
        let mut control = self.control.lock();
        if let Some(notifier) = self.exported.get() {
            return Ok((notifier, Exchanged::nothing(None)));
        }
        let notifier = EventNotifier::new().map_err(|source| Error::Export { source })?;
        let notifier = Arc::new(notifier);
        let exchanged = self.export_as(&mut control, &notifier);
        Ok((notifier, exchanged))
    }

    /// Makes an internal vector an exported one.
    fn export_as(
        self: &Arc<Self>,
        control: &mut Control,
        notifier: &Arc<EventNotifier>,
    ) -> Exchanged {
        let (old, trigger) = self.exchange(Some(notifier));
        let start = match control.masked {
            true => Start::Nothing,
            false => self.start(control),
        };
        Exchanged {
            old,
            trigger,
            start,
        }
    }

    /// Exchanges what triggers use. Returns the old notifier, and whether a trigger was kept.
    ///
    /// The gate of an exported vector stays open: masked or not, the notifier takes the signal.
    fn exchange(
        &self,
        notifier: Option<&Arc<EventNotifier>>,
    ) -> (Option<Arc<EventNotifier>>, bool) {
        self.gate.close();
        let old = self.exported.swap(notifier.cloned());
        let kept = notifier.is_some() && self.gate.open().is_some();
        (old, kept)
    }

    pub(super) fn unexport(self: &Arc<Self>) -> Result<Exchanged, Error> {
        if !self.signals() {
            return Err(Error::NoSignalMsi);
        }
        let mut control = self.control.lock();
        if !self.exported.is_some() {
            return Ok(Exchanged::nothing(None));
        }
        control.disarm();
        control.gsi = OwnGsi::None;
        if let (Arm::Queued(_), Some(queue)) = (&control.arm, &self.queue) {
            queue.remove(self);
            control.arm = Arm::Off;
        }
        let (old, _) = self.exchange(None);
        let signalled = old.as_deref().is_some_and(takes_signal);
        if signalled {
            // The gate is closed, and keeps it.
            drop(self.gate.enter());
        }
        let start = match control.masked {
            true => Start::Nothing,
            false => self.start(&mut control),
        };
        Ok(Exchanged {
            old,
            trigger: false,
            start,
        })
    }

    pub(super) fn replace_notifier(
        self: &Arc<Self>,
        notifier: Arc<EventNotifier>,
    ) -> Result<Exchanged, Rejected<Arc<EventNotifier>>> {
        if notifier.mode() == EventFdMode::Semaphore {
            return Err(Rejected::new(Error::ExportSemaphore, notifier));
        }
        let mut control = self.control.lock();
        let Some(old) = self.exported.get() else {
            return Ok(self.export_as(&mut control, &notifier));
        };
        if Arc::ptr_eq(&old, &notifier) {
            return Ok(Exchanged::nothing(Some(old)));
        }
        if let Arm::Armed(irq) = &mut control.arm {
            // If the VM panics the vector is dead.
            let replaced = catch_unwind(AssertUnwindSafe(|| irq.replace_notifier(&notifier)));
            match replaced {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(Rejected::new(error, notifier)),
                Err(panic) => {
                    self.kill(&mut control, Arc::new(Error::Abandoned));
                    resume_unwind(panic);
                }
            }
        }
        let (_, kept) = self.exchange(Some(&notifier));
        let trigger = takes_signal(&old) || kept;
        // What the old one was refused for may not be so of the new one.
        let start = match control.arm {
            Arm::Dead(_) | Arm::Queued(Some(_)) => {
                control.disarm();
                self.start(&mut control)
            }
            _ => Start::Nothing,
        };
        Ok(Exchanged {
            old: Some(old),
            trigger,
            start,
        })
    }

    /// Does what an exchange has left. The vector is triggered first, so that a panic of the VM
    /// loses nothing. Returns the notifier that was replaced.
    pub(super) fn finish_exchange(
        self: &Arc<Self>,
        exchanged: Exchanged,
    ) -> Option<Arc<EventNotifier>> {
        if exchanged.trigger {
            // A peer may have filled it and made it blocking.
            if let Some(notifier) = self.exported.get() {
                empty_if_full(&notifier);
            }
            // Every eventfd takes it.
            let _ = self.trigger();
        }
        // If it fails the state says so.
        let _ = self.carry_out(exchanged.start);
        exchanged.old
    }
}

impl Exchanged {
    fn nothing(old: Option<Arc<EventNotifier>>) -> Self {
        Self {
            old,
            trigger: false,
            start: Start::Nothing,
        }
    }
}

/// Takes the signal of a notifier that is not armed. Returns whether there was one.
fn takes_signal(notifier: &EventNotifier) -> bool {
    matches!(notifier.consume(), Ok(Some(_)))
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Handing a vector's notifier out, exchanging it, and taking it back.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use notify_core::{EventFdMode, EventNotifier, Rejected};

use crate::VectorError;
use crate::vector::Inner;
use crate::vector::arming::Start;
use crate::vector::control::{Arm, Control, OwnGsi};
use crate::vector::trigger::{Kind, Output};

/// What is left to be done for an exchange, without the vector's lock.
#[must_use = "the vector waits for it"]
pub(in crate::vector) struct Exchanged {
    /// The notifier that was replaced, if it was one that was handed out.
    pub(in crate::vector) old: Option<Arc<EventNotifier>>,
    /// A trigger was kept, or a signal is to be taken over, so the vector is triggered.
    pub(in crate::vector) trigger: bool,
    pub(in crate::vector) start: Start,
}

impl Inner {
    pub(in crate::vector) fn export(
        self: &Arc<Self>,
    ) -> Result<(Arc<EventNotifier>, Exchanged), VectorError> {
        let mut control = self.control.lock();
        if let Some(notifier) = self.outlet.shared() {
            notifier.declare_shared();
            return Ok((notifier, Exchanged::nothing(None)));
        }
        if let Some(notifier) = self.outlet.notifier() {
            notifier.declare_shared();
            // It stays bound, if it is.
            let (old, trigger) = self.exchange(Output::Shared(Arc::clone(&notifier)));
            let start = Start::Nothing;
            let exchanged = Exchanged {
                old,
                trigger,
                start,
            };
            return Ok((notifier, exchanged));
        }
        let notifier = notifier(false)?;
        let exchanged = self.export_as(&mut control, &notifier);
        Ok((notifier, exchanged))
    }

    /// Gives a notifier to a vector that has none.
    fn export_as(
        self: &Arc<Self>,
        control: &mut Control,
        notifier: &Arc<EventNotifier>,
    ) -> Exchanged {
        let (old, trigger) = self.exchange(Output::Shared(Arc::clone(notifier)));
        Exchanged {
            old,
            trigger,
            start: self.start_if_open(control),
        }
    }

    /// Exchanges what triggers do. Returns the old notifier if it was handed out, and whether a
    /// trigger was kept.
    ///
    /// The gate of an exported vector stays open: masked or not, the notifier takes the signal. Any
    /// other gate stays closed, and is opened when the vector is.
    fn exchange(&self, output: Output) -> (Option<Arc<EventNotifier>>, bool) {
        let opens = matches!(output, Output::Shared(_));
        self.gate.close();
        let old = self.outlet.swap(output).into_shared();
        let kept = opens && self.gate.open().is_some();
        (old, kept)
    }

    pub(in crate::vector) fn unexport(self: &Arc<Self>) -> Result<Exchanged, VectorError> {
        let mut control = self.control.lock();
        if matches!(self.outlet.kind(), Kind::Message | Kind::Own) {
            return Ok(Exchanged::nothing(None));
        }
        let output = self.private_output()?;
        let old = self.take_back(&mut control, output);
        Ok(Exchanged {
            old,
            trigger: false,
            start: self.start_if_open(&mut control),
        })
    }

    /// What triggers do as long as no notifier is handed out.
    pub(in crate::vector) fn private_output(&self) -> Result<Output, VectorError> {
        match self.by_irqfd {
            true => notifier(true).map(Output::Own),
            false => Ok(Output::Message),
        }
    }

    pub(in crate::vector) fn take_notifier(self: &Arc<Self>) -> Option<Arc<EventNotifier>> {
        let mut control = self.control.lock();
        if !self.outlet.is_shared() {
            return None;
        }
        self.take_back(&mut control, Output::Nothing)
    }

    /// Disarms the vector and exchanges its output for one that is not handed out. A signal that
    /// the notifier has is kept.
    fn take_back(
        self: &Arc<Self>,
        control: &mut Control,
        output: Output,
    ) -> Option<Arc<EventNotifier>> {
        self.close(control);
        if let (Arm::Queued(_), Some(queue)) = (&control.arm, &self.queue) {
            queue.remove(self);
            control.arm = Arm::Off;
        }
        match output {
            Output::Message => control.gsi = OwnGsi::None,
            _ => control.park_if_masked(),
        }
        let (old, _) = self.exchange(output);
        if old.as_deref().is_some_and(takes_signal) {
            // The gate is closed, and keeps it.
            drop(self.gate.enter());
        }
        old
    }

    pub(in crate::vector) fn replace_notifier(
        self: &Arc<Self>,
        notifier: Arc<EventNotifier>,
    ) -> Result<Exchanged, Rejected<Arc<EventNotifier>, VectorError>> {
        if notifier.mode() == EventFdMode::Semaphore {
            return Err(Rejected::new(VectorError::Semaphore, notifier));
        }
        let mut control = self.control.lock();
        let Some(current) = self.outlet.notifier() else {
            return Ok(self.export_as(&mut control, &notifier));
        };
        let shared = self.outlet.shared();
        if shared.as_ref().is_some_and(|it| Arc::ptr_eq(it, &notifier)) {
            return Ok(Exchanged::nothing(shared));
        }
        if !self.outlet.is_shared() {
            // What triggers signal from now on is taken from the new one.
            self.gate.close();
        }
        if let Arm::Armed(irq) = &mut control.arm {
            // If the VM panics the vector is dead.
            let replaced = catch_unwind(AssertUnwindSafe(|| irq.replace_notifier(&notifier)));
            match replaced {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    self.deliver_pending(control);
                    return Err(Rejected::new(error.into(), notifier));
                }
                Err(panic) => {
                    self.kill(&mut control, VectorError::Panicked);
                    resume_unwind(panic);
                }
            }
        }
        let may_have_signal = self.outlet.is_shared() || self.table.translates();
        let (old, kept) = self.exchange(Output::Shared(notifier));
        let trigger = may_have_signal && takes_signal(&current) || kept;
        // What the old one was refused for may not be so of the new one.
        let start = match control.arm {
            Arm::Dead(_) | Arm::Queued(Some(_)) => {
                control.disarm();
                self.start_if_open(&mut control)
            }
            _ => Start::Nothing,
        };
        Ok(Exchanged {
            old,
            trigger,
            start,
        })
    }

    /// Does what an exchange has left. The vector is triggered first, so that a panic of the VM
    /// loses nothing. Returns the notifier that was replaced.
    pub(in crate::vector) fn finish_exchange(
        self: &Arc<Self>,
        exchanged: Exchanged,
    ) -> Option<Arc<EventNotifier>> {
        if exchanged.trigger {
            // A peer may have filled it and made it blocking.
            if let Some(notifier) = self.outlet.shared() {
                self.make_room(&self.control.lock(), &notifier);
            }
            // Every eventfd takes it.
            let _ = self.trigger();
        }
        // If it fails, the state has the reason.
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

/// A new one; private as long as it is not handed out.
fn notifier(private: bool) -> Result<Arc<EventNotifier>, VectorError> {
    let new = EventNotifier::builder().private(private).build();
    new.map(Arc::new)
        .map_err(|cause| VectorError::Notifier { cause })
}

/// Takes the signal of a notifier that is not armed. Returns whether there was one.
fn takes_signal(notifier: &EventNotifier) -> bool {
    matches!(notifier.consume(), Ok(Some(_)))
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Handing a vector's notifier out, exchanging it, and taking it back.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use notify_core::{EventFdMode, EventNotifier};

use super::committer::Start;
use super::control::{Arm, Control};
use super::{Inner, signal_anew};
use crate::{Error, Rejected};

/// The notifier that was replaced, and what is left to be done.
pub(super) type Replaced = (Option<Arc<EventNotifier>>, Start);

impl Inner {
    pub(super) fn export(self: &Arc<Self>) -> Result<(Arc<EventNotifier>, Start), Error> {
        let mut control = self.control.lock();
        if let Some(notifier) = self.exported.get() {
            return Ok((notifier, Start::Nothing));
        }
        let notifier = EventNotifier::new().map_err(|source| Error::Export { source })?;
        let notifier = Arc::new(notifier);
        let start = self.export_as(&mut control, &notifier);
        Ok((notifier, start))
    }

    /// Makes an internal vector an exported one.
    fn export_as(self: &Arc<Self>, control: &mut Control, notifier: &Arc<EventNotifier>) -> Start {
        self.exchange(Some(notifier));
        match control.masked {
            true => Start::Nothing,
            false => self.start(control),
        }
    }

    /// Exchanges what triggers use, and answers with the old one. A trigger that was kept passes to
    /// the new one, and so does one that comes meanwhile.
    fn exchange(&self, notifier: Option<&Arc<EventNotifier>>) -> Option<Arc<EventNotifier>> {
        self.gate.close();
        let old = self.exported.swap(notifier.cloned());
        // The gate of an exported vector stays open: masked or not, the notifier takes the signal.
        if notifier.is_some()
            && let Some(pass) = self.gate.open()
        {
            // Every eventfd takes it.
            let _ = self.inject(pass);
        }
        old
    }

    pub(super) fn unexport(self: &Arc<Self>) -> Result<Start, Error> {
        if !self.signals() {
            return Err(Error::NoSignalMsi);
        }
        let mut control = self.control.lock();
        if !self.exported.is_some() {
            return Ok(Start::Nothing);
        }
        control.disarm();
        control.lease = None;
        if let (Arm::Queued(_), Some(queue)) = (&control.arm, &self.queue) {
            queue.remove(self);
            control.arm = Arm::Off;
        }
        let old = self.exchange(None);
        let signalled = old.is_some_and(|old| matches!(old.consume(), Ok(Some(_))));
        if signalled {
            // The gate is closed, and keeps it.
            drop(self.gate.enter());
        }
        match control.masked {
            true => Ok(Start::Nothing),
            false => Ok(self.start(&mut control)),
        }
    }

    pub(super) fn replace_notifier(
        self: &Arc<Self>,
        notifier: Arc<EventNotifier>,
    ) -> Result<Replaced, Rejected<Arc<EventNotifier>>> {
        if notifier.mode() == EventFdMode::Semaphore {
            return Err(Rejected::new(Error::ExportSemaphore, notifier));
        }
        let mut control = self.control.lock();
        let Some(old) = self.exported.get() else {
            let start = self.export_as(&mut control, &notifier);
            return Ok((None, start));
        };
        if Arc::ptr_eq(&old, &notifier) {
            return Ok((Some(old), Start::Nothing));
        }
        if matches!(control.arm, Arm::Armed(_)) {
            if let Err(error) = control.take_off() {
                return Err(Rejected::new(error, notifier));
            }
            // Bound first: if it cannot be, for instance because it is bound elsewhere, nothing has
            // happened yet.
            if let Err(error) = self.bind(&mut control, &notifier) {
                if let Err(reason) = self.bind(&mut control, &old) {
                    self.kill(&mut control, Arc::new(reason));
                }
                return Err(Rejected::new(error, notifier));
            }
        }
        self.exchange(Some(&notifier));
        if let Ok(Some(_)) = old.consume() {
            // As in `exchange`. It may be bound, and full: then KVM would not hear of a mere write.
            let _ = signal_anew(&notifier);
        }
        // The relay has the old one; and what the old one was refused for may not be so of the new
        // one.
        let start = match control.arm {
            Arm::Relayed(_) | Arm::Arming(Some(_)) | Arm::Dead(_) | Arm::Queued(Some(_)) => {
                control.disarm();
                self.start(&mut control)
            }
            _ => Start::Nothing,
        };
        Ok((Some(old), start))
    }

    /// Arms an exported vector. If the VM panics the vector is dead.
    fn bind(
        self: &Arc<Self>,
        control: &mut Control,
        notifier: &Arc<EventNotifier>,
    ) -> Result<(), Error> {
        let bound = catch_unwind(AssertUnwindSafe(|| control.bind(notifier)));
        bound.unwrap_or_else(|panic| {
            self.kill(control, Arc::new(Error::Abandoned));
            resume_unwind(panic)
        })
    }
}

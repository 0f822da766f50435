// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Handing a vector's notifier out, exchanging it, and taking it back.

use std::sync::Arc;

use notify_core::{EventFdMode, EventNotifier};

use super::control::{Arm, Control};
use super::{Inner, signal_anew};
use crate::sync::MutexGuard;
use crate::{Error, Rejected};

impl Inner {
    pub(super) fn export(self: &Arc<Self>) -> Result<Arc<EventNotifier>, Error> {
        let control = self.control.lock();
        if let Some(notifier) = self.exported.get() {
            return Ok(notifier);
        }
        let notifier = EventNotifier::new().map_err(|source| Error::Export { source })?;
        let notifier = Arc::new(notifier);
        self.export_as(control, &notifier);
        Ok(notifier)
    }

    /// Makes an internal vector an exported one.
    fn export_as(
        self: &Arc<Self>,
        control: MutexGuard<'_, Control>,
        notifier: &Arc<EventNotifier>,
    ) {
        self.exchange(Some(notifier));
        if !control.masked {
            // If it fails the state says so.
            let _ = self.arm(control);
        }
    }

    /// Exchanges what triggers use, and answers with the old one. A trigger that was kept passes to the
    /// new one, and so does one that comes meanwhile.
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

    pub(super) fn unexport(&self) -> Result<(), Error> {
        if !self.signals() {
            return Err(Error::NoSignalMsi);
        }
        let mut control = self.control.lock();
        if !self.exported.is_some() {
            return Ok(());
        }
        control.disarm();
        control.lease = None;
        let old = self.exchange(None);
        let signalled = old.is_some_and(|old| matches!(old.consume(), Ok(Some(_))));
        if signalled {
            // The gate is closed, and keeps it.
            drop(self.gate.enter());
        }
        if control.masked {
            return Ok(());
        }
        self.open()
    }

    pub(super) fn replace_notifier(
        self: &Arc<Self>,
        notifier: Arc<EventNotifier>,
    ) -> Result<Option<Arc<EventNotifier>>, Rejected<Arc<EventNotifier>>> {
        if notifier.mode() == EventFdMode::Semaphore {
            return Err(Rejected::new(Error::ExportSemaphore, notifier));
        }
        let mut control = self.control.lock();
        let Some(old) = self.exported.get() else {
            self.export_as(control, &notifier);
            return Ok(None);
        };
        if Arc::ptr_eq(&old, &notifier) {
            return Ok(Some(old));
        }
        if matches!(control.arm, Arm::Armed(_)) {
            if let Err(error) = control.take_off() {
                return Err(Rejected::new(error, notifier));
            }
            // Bound first: if it cannot be, for instance because it is bound elsewhere, nothing has
            // happened yet.
            if let Err(error) = control.bind(&notifier) {
                if let Err(reason) = control.bind(&old) {
                    self.lose(&mut control, reason);
                }
                return Err(Rejected::new(error, notifier));
            }
        }
        self.exchange(Some(&notifier));
        if let Ok(Some(_)) = old.consume() {
            // As in `exchange`. It may be bound, and full: then KVM would not hear of a mere write.
            let _ = signal_anew(&notifier);
        }
        // The relay has the old one; and what the old one was refused for may not be so of the new one.
        if matches!(control.arm, Arm::Relayed { .. } | Arm::Dead(_)) {
            control.disarm();
            let _ = self.arm(control);
        }
        Ok(Some(old))
    }

    /// An armed vector could not be armed again. After a temporary error the next round of the queue
    /// retries it. The owner of the queue does not know of that yet, so it is woken.
    fn lose(self: &Arc<Self>, control: &mut Control, reason: Error) {
        if reason.is_transient()
            && let Some(queue) = &self.queue
            && self.enter(control, queue)
        {
            queue.wake();
        }
        control.arm = Arm::Dead(Arc::new(reason));
    }
}

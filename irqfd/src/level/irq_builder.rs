// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`LevelIrqBuilder`]: how a device joins a line.

use std::sync::Arc;

use notify_core::{EventFdMode, EventNotifier, Rejected};

use super::LevelError;
use super::members::Member;
use super::way::Way;
use super::{LevelIrq, LevelLine};
use crate::edge::Taken;

/// A device that is not on its line yet.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing"]
pub struct LevelIrqBuilder {
    line: LevelLine,
    eoi: bool,
    exported: bool,
    trigger: Option<Arc<EventNotifier>>,
    resample: Option<Arc<EventNotifier>>,
}

impl LevelIrqBuilder {
    pub(super) fn new(line: &LevelLine) -> Self {
        Self {
            line: line.clone(),
            eoi: false,
            exported: false,
            trigger: None,
            resample: None,
        }
    }

    /// It wants to be told of EOIs: it gets a notifier for them.
    pub fn eoi(mut self) -> Self {
        self.eoi = true;
        self
    }

    /// Another process, vhost or VFIO has the device: it gets a trigger, which they signal to raise
    /// the line, and a notifier by which they are told of EOIs, upon which they trigger again if
    /// there is still a reason to.
    pub fn exported(mut self) -> Self {
        self.exported = true;
        self
    }

    /// As [`exported`](Self::exported), with this trigger instead of a new one.
    pub fn trigger_notifier(mut self, trigger: Arc<EventNotifier>) -> Self {
        self.trigger = Some(trigger);
        self.exported()
    }

    /// As [`eoi`](Self::eoi), with this notifier instead of a new one.
    pub fn resample_notifier(mut self, resample: Arc<EventNotifier>) -> Self {
        self.resample = Some(resample);
        self.eoi()
    }

    /// Joins the line, low. A signal that its trigger has counts, as it does for
    /// [`IrqFdBuilder::notifier`](crate::IrqFdBuilder::notifier).
    ///
    /// # Errors
    ///
    /// [`LevelError::Notifier`], [`LevelError::Semaphore`], [`LevelError::TriggersItself`];
    /// [`LevelError::NoResample`] for a device that waits for EOIs, where the kernel has the pins
    /// and does not tell of them, or the line was built
    /// [`without_eois`](super::LevelLineBuilder::without_eois); [`LevelError::OneSource`] on arm64;
    /// [`LevelError::Arm`]. Nothing has changed, and the
    /// builder comes back inside.
    pub fn build(self) -> Result<LevelIrq, Rejected<Self, LevelError>> {
        // Of a trigger that came from elsewhere: one that is made for it is empty.
        let given = self.trigger.clone();
        let _taken = given.as_deref().map(Taken::from);
        let joined = self.member().and_then(|member| {
            let notifiers = (member.trigger.clone(), member.resample.clone());
            let place = self.line.inner.join(member)?;
            Ok((place, notifiers))
        });
        match joined {
            Ok((place, (trigger, resample))) => {
                let trigger = trigger.filter(|_| self.exported);
                Ok(LevelIrq::joined(self.line, place, trigger, resample))
            }
            Err(error) => Err(Rejected::new(error, self)),
        }
    }

    fn member(&self) -> Result<Member, LevelError> {
        let line = self.line.number();
        let told = self.eoi || self.exported;
        // KVM tells of EOIs by an irqfd alone.
        let in_kernel = matches!(self.line.inner.lock().way, Way::Kernel(_));
        let wanted = self.exported || told && in_kernel;
        // That of a device of the VMM's own is never handed out.
        let trigger = self.notifier(self.trigger.as_ref(), wanted, !self.exported)?;
        let resample = self.notifier(self.resample.as_ref(), told, false)?;
        if let (Some(one), Some(other)) = (&trigger, &resample)
            && Arc::ptr_eq(one, other)
        {
            return Err(LevelError::TriggersItself { line });
        }
        let is_semaphore = |trigger: &Arc<EventNotifier>| trigger.mode() == EventFdMode::Semaphore;
        if trigger.as_ref().is_some_and(is_semaphore) {
            return Err(LevelError::Semaphore { line });
        }
        Ok(Member::new(self.exported, trigger, resample))
    }

    fn notifier(
        &self,
        given: Option<&Arc<EventNotifier>>,
        wanted: bool,
        private: bool,
    ) -> Result<Option<Arc<EventNotifier>>, LevelError> {
        let line = self.line.number();
        if let Some(given) = given {
            return Ok(Some(Arc::clone(given)));
        }
        let new = || EventNotifier::builder().private(private).build();
        let new = wanted.then(new).transpose();
        let new = new.map_err(|cause| LevelError::Notifier { line, cause })?;
        Ok(new.map(Arc::new))
    }
}

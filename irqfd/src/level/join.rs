// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How a device joins a line.

use std::sync::Arc;

use notify_core::{EventFdMode, EventNotifier, Rejected};

use super::delivery::Delivery;
use super::members::Member;
use super::{LevelError, LevelIrq, LevelLine};
use crate::edge::Taken;

/// What an exported device brings: its trigger, if it has one, and its resample notifier.
type GivenNotifiers = (Option<Arc<EventNotifier>>, Arc<EventNotifier>);

impl LevelLine {
    /// Joins the line, low, with a device of the VMM's own that does not wait for EOIs.
    ///
    /// # Errors
    ///
    /// [`LevelError::OneSource`] on arm64, if an exported device or one that waits for EOIs has
    /// joined. Nothing has changed.
    pub fn join(&self) -> Result<LevelIrq, LevelError> {
        self.join_with(None, None)
    }

    /// Joins the line, low, with a device of the VMM's own that waits for EOIs: each signals
    /// `resample`.
    ///
    /// # Errors
    ///
    /// [`LevelError::NoResample`], where the kernel has the pins and does not report EOIs, or the
    /// line was built [`without_eois`](super::LevelLineBuilder::without_eois);
    /// [`LevelError::OneSource`] on arm64; [`LevelError::Notifier`], [`LevelError::Arm`]. Nothing
    /// has changed, and the notifier comes back inside.
    pub fn join_resampled(
        &self,
        resample: Arc<EventNotifier>,
    ) -> Result<LevelIrq, Rejected<Arc<EventNotifier>, LevelError>> {
        let joined = self.join_with(None, Some(Arc::clone(&resample)));
        joined.map_err(|error| Rejected::new(error, resample))
    }

    /// Joins the line, low, with a device of another process, vhost or VFIO.
    ///
    /// The device signals `trigger` to raise the line. Each EOI signals `resample`; then the device
    /// signals `trigger` again if it still has a reason.
    ///
    /// With `None` the trigger is a new one, which
    /// [`trigger_notifier`](LevelIrq::trigger_notifier) returns. A signal that a given one has
    /// counts, as it does for [`IrqFdBuilder::notifier`](crate::IrqFdBuilder::notifier); it is
    /// looked for with `preadv2`, and a new one is not.
    ///
    /// # Errors
    ///
    /// Those of [`join_resampled`](Self::join_resampled); [`LevelError::Semaphore`];
    /// [`LevelError::TriggersItself`]: both are the same notifier. Nothing has changed, and the
    /// given notifiers come back inside.
    pub fn join_exported(
        &self,
        trigger: Option<Arc<EventNotifier>>,
        resample: Arc<EventNotifier>,
    ) -> Result<LevelIrq, Rejected<GivenNotifiers, LevelError>> {
        let given = trigger.clone();
        let _taken = given.as_deref().map(Taken::from);
        let signalled = given.clone().map_or_else(|| self.new_notifier(false), Ok);
        let joined = signalled
            .and_then(|signalled| self.join_with(Some(signalled), Some(Arc::clone(&resample))));
        joined.map_err(|error| Rejected::new(error, (trigger, resample)))
    }

    /// An exported device has a trigger, and one that waits for EOIs a resample notifier.
    fn join_with(
        &self,
        trigger: Option<Arc<EventNotifier>>,
        resample: Option<Arc<EventNotifier>>,
    ) -> Result<LevelIrq, LevelError> {
        let line = self.number();
        if let (Some(one), Some(other)) = (&trigger, &resample)
            && Arc::ptr_eq(one, other)
        {
            return Err(LevelError::TriggersItself { line });
        }
        let is_semaphore = |trigger: &Arc<EventNotifier>| trigger.mode() == EventFdMode::Semaphore;
        if trigger.as_ref().is_some_and(is_semaphore) {
            return Err(LevelError::Semaphore { line });
        }
        let exported = trigger.is_some();
        let bound = match &trigger {
            // KVM reports EOIs by an irqfd alone, which needs a trigger. That of a device of the
            // VMM's own is never handed out.
            None if resample.is_some() && self.is_in_kernel() => Some(self.new_notifier(true)?),
            _ => trigger.clone(),
        };
        let place = self
            .inner
            .join(Member::new(exported, bound, resample.clone()))?;
        Ok(LevelIrq::joined(self.clone(), place, trigger, resample))
    }

    fn is_in_kernel(&self) -> bool {
        matches!(self.inner.lock().delivery, Delivery::Kernel(_))
    }

    fn new_notifier(&self, private: bool) -> Result<Arc<EventNotifier>, LevelError> {
        let line = self.number();
        let new = EventNotifier::builder().private(private).build();
        new.map(Arc::new)
            .map_err(|cause| LevelError::Notifier { line, cause })
    }
}

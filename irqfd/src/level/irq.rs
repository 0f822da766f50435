// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`LevelIrq`]: one device's share of a line.

use std::sync::Arc;

use notify_core::{EventNotifier, Rejected};

use super::delivery::Delivery;
use super::members::Place;
use super::{LevelError, LevelLine};

/// One device's share of a [`LevelLine`].
///
/// A device of the VMM's own calls [`assert`](Self::assert) and [`deassert`](Self::deassert). A
/// device of another process, of vhost or of VFIO is *exported*: it signals its
/// [trigger](Self::trigger_notifier). An EOI takes back all triggers and signals the device's
/// [resample notifier](Self::resample_notifier); if the device still has a reason, it signals its
/// trigger again.
///
/// Each device with a resample notifier is notified once of every EOI of the line, whichever device
/// raised it. Some kernels also notify it when the guest unmasks the pin (Linux 6.12 does, 6.1 does
/// not). A VMM whose own devices share such a line calls [`LevelLine::reassert`] then.
///
/// # Drop
///
/// Takes the device off the line, which stays as high as the others hold it. Blocks for one
/// KVM_IRQ_LINE if it was the last device that asserts, and for one KVM_IRQFD if it has an irqfd.
/// What cannot be undone is logged; if that is an irqfd, the GSI stays out of use when the line
/// ends.
///
/// Three things may happen after a drop:
///
/// - Pins in the kernel, other devices wait for EOIs: a trigger that was signalled holds the line
///   up until the next EOI, so at most one interrupt is spurious.
/// - Pins in the kernel, no other device waits for EOIs: the kernel lowers the line, but stops
///   reporting EOIs a few milliseconds before. Until then a device with a pending trigger may cause
///   several spurious interrupts.
/// - EOIs are exits: an EOI that is being reported may still signal the device's notifier.
///
/// ```
/// # use std::sync::Arc;
/// # use irq_routing::{Platform, RoutingTable, Wiring};
/// # use irqfd::LevelLine;
/// # use notify_core::EventNotifier;
/// # use notify_sim::SimVm;
/// # let vm = Arc::new(SimVm::builder().build());
/// # let table = RoutingTable::builder(vm.clone()).wiring(Wiring::pc()).build()?;
/// let line = LevelLine::builder(table.line(11)?).build()?;
/// let one = line.join()?;
/// let other = line.join_resampled(Arc::new(EventNotifier::new()?))?;
/// one.assert()?;
/// other.assert()?; // no ioctl: the line is high
/// drop(one); // nor here
/// assert!(line.is_asserted());
/// other.deassert()?;
/// assert!(!line.is_asserted());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it takes the device off the line"]
pub struct LevelIrq {
    line: LevelLine,
    /// Until it has left.
    place: Option<Place>,
    trigger: Option<Arc<EventNotifier>>,
    resample: Option<Arc<EventNotifier>>,
}

impl LevelIrq {
    pub(super) fn joined(
        line: LevelLine,
        place: Place,
        trigger: Option<Arc<EventNotifier>>,
        resample: Option<Arc<EventNotifier>>,
    ) -> Self {
        Self {
            line,
            place: Some(place),
            trigger,
            resample,
        }
    }

    /// Returns the line.
    #[must_use]
    pub fn line(&self) -> &LevelLine {
        &self.line
    }

    /// Raises the line, and holds it up until [`deassert`](Self::deassert).
    ///
    /// Issues one ioctl if the line was low, else none. On a line that was built
    /// [`without_eois`](super::LevelLineBuilder::without_eois) each call sends a message, also if
    /// the device asserts already. An exported device may assert too, beside its trigger. Takes the
    /// line's lock.
    ///
    /// # Errors
    ///
    /// [`LevelError::LevelRefused`]; [`LevelError::OneSource`], for an exported device on arm64;
    /// [`LevelError::NoPin`], there and on riscv64, if the GSI was routed to a message since. Where
    /// the port has no [`Vm::irq_line_status`](notify_core::Vm::irq_line_status):
    /// [`LevelError::NoIrqLine`] for a pin in the kernel; [`LevelError::Notifier`] and those of
    /// [`LevelError::Arm`] for a message, which an irqfd of the
    /// line's own sends then. Nothing has changed.
    pub fn assert(&self) -> Result<(), LevelError> {
        self.set(true)
    }

    /// Stops holding the line up.
    ///
    /// Issues one ioctl if it was the last device that asserts, else none.
    ///
    /// # Errors
    ///
    /// [`LevelError::LevelRefused`]; nothing has changed. A VM that is being closed
    /// ([`Vm::retire`](notify_core::Vm::retire)) is no error, nor for [`leave`](Self::leave).
    pub fn deassert(&self) -> Result<(), LevelError> {
        self.set(false)
    }

    /// Returns whether the device asserts. (Its trigger may hold the line up besides.)
    #[must_use]
    pub fn is_asserted(&self) -> bool {
        let state = self.line.inner.lock();
        let member = self.place.and_then(|place| state.members.get(place));
        member.is_some_and(|member| member.level.asserted)
    }

    /// Returns the notifier that raises the line when it is signalled, of an exported device.
    #[must_use]
    pub fn trigger_notifier(&self) -> Option<&Arc<EventNotifier>> {
        self.trigger.as_ref()
    }

    /// Returns the notifier that is signalled at an EOI, of a device that waits for EOIs.
    #[must_use]
    pub fn resample_notifier(&self) -> Option<&Arc<EventNotifier>> {
        self.resample.as_ref()
    }

    /// Takes the signals of the trigger, on a line of the VMM's own controller.
    ///
    /// Call it when the trigger is readable: there, no other code reads it. If there were signals,
    /// holds the line up until the next EOI and returns `true`. On any other line it does nothing
    /// and returns `false`: the kernel takes the signals, or they wait until the pin is unmasked.
    ///
    /// # Errors
    ///
    /// [`LevelError::LevelRefused`], with the signal back in the trigger; [`LevelError::Notifier`].
    pub fn take_trigger(&self) -> Result<bool, LevelError> {
        let (Some(trigger), Some(place)) = (&self.trigger, self.place) else {
            return Ok(false);
        };
        if !matches!(self.line.inner.lock().delivery, Delivery::Controller(_)) {
            return Ok(false);
        }
        let line = self.line.number();
        let failed = |cause| LevelError::Notifier { line, cause };
        if trigger.consume().map_err(failed)?.is_none() {
            return Ok(false);
        }
        let raised = self
            .line
            .inner
            .set_level(place, |level| level.triggered = true);
        if let Err(error) = raised {
            trigger.notify().map_err(failed)?;
            return Err(error);
        }
        Ok(true)
    }

    /// Leaves the line, as the drop does, and returns an error if that fails.
    ///
    /// # Errors
    ///
    /// [`LevelError::LevelRefused`], [`LevelError::Arm`]: the device is on the line as before. The
    /// error returns it.
    pub fn leave(mut self) -> Result<(), Rejected<Self, LevelError>> {
        let Some(place) = self.place else {
            return Ok(());
        };
        match self.line.inner.leave(place) {
            Ok(()) => {
                self.place = None;
                Ok(())
            }
            Err(error) => Err(Rejected::new(error, self)),
        }
    }

    fn set(&self, asserted: bool) -> Result<(), LevelError> {
        match self.place {
            Some(place) => {
                let inner = &self.line.inner;
                inner.set_level(place, |level| level.asserted = asserted)
            }
            None => Ok(()),
        }
    }
}

impl Drop for LevelIrq {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else {
            return;
        };
        let failed = self.line.inner.forget(place);
        for error in failed.into_iter().flatten() {
            if !error.is_retired() {
                log::error!("a dropped device could not leave its line: {error}");
            }
        }
    }
}

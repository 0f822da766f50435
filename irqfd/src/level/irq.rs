// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`LevelIrq`]: one device's share of a line.

use std::sync::Arc;

use notify_core::{EventNotifier, Rejected};

use super::delivery::Delivery;
use super::members::Place;
use super::{LevelError, LevelLine};

/// One device's share of a [`LevelLine`].
///
/// A device of the VMM's own says by [`assert`](Self::assert) and [`deassert`](Self::deassert)
/// whether it wants an interrupt. One of another process, of vhost or of VFIO is *exported*: they
/// signal its [trigger](Self::trigger_notifier), and are notified by [another
/// notifier](Self::resample_notifier) that the guest has ended the interrupt, which takes back all
/// triggers; if there is still a reason they signal again.
///
/// Each device with a resample notifier is notified once of every EOI of the line, whichever device
/// raised it. Some kernels also tell when the guest unmasks the pin (Linux 6.12 does, 6.1 does
/// not); a VMM whose own devices share such a line calls [`LevelLine::reassert`] then.
///
/// Dropping it takes it off the line, which stays as high as the others hold it. One exception:
/// where pins are in the kernel, a trigger that was signalled holds the line up until the next EOI
/// if other devices that are told of EOIs stay behind, so at most one interrupt is spurious. (If no
/// other device is notified, the kernel lowers the line, but stops hearing of EOIs a few
/// milliseconds before: one whose trigger holds the line up then may interrupt many times
/// meanwhile.) Where no kernel tells of EOIs, one that is being told of may still signal its
/// notifier after it has left. The drop blocks for one KVM_IRQ_LINE if it was the last that
/// asserts, and for one KVM_IRQFD if it has an irqfd. What cannot be undone is logged; if that is
/// an irqfd, the GSI stays out of use when the line goes.
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

    /// The line.
    #[must_use]
    pub fn line(&self) -> &LevelLine {
        &self.line
    }

    /// Holds the line up. One ioctl if it was low, else none. On a line that was built
    /// [`without_eois`](super::LevelLineBuilder::without_eois) each call sends, also of a device
    /// that asserts already.
    ///
    /// An exported device may do so too, beside its trigger.
    ///
    /// # Errors
    ///
    /// [`LevelError::LevelRefused`]; [`LevelError::OneSource`], for an exported device on arm64;
    /// [`LevelError::NoPin`], there and on riscv64, if the GSI was led to a message since. Where
    /// the port has no [`Vm::irq_line_status`](notify_core::Vm::irq_line_status):
    /// [`LevelError::NoIrqLine`] for a pin in the kernel; [`LevelError::Notifier`] and those of
    /// [`LevelError::Arm`] for a message, which an irqfd of the
    /// line's own sends then. Nothing has changed.
    pub fn assert(&self) -> Result<(), LevelError> {
        self.set(true)
    }

    /// Holds the line up no longer. One ioctl if it was the last one, else none.
    ///
    /// # Errors
    ///
    /// [`LevelError::LevelRefused`]; nothing has changed. A machine that was said to be closing
    /// ([`Vm::retire`](notify_core::Vm::retire)) is no reason, nor for
    /// [`leave`](Self::leave).
    pub fn deassert(&self) -> Result<(), LevelError> {
        self.set(false)
    }

    /// Whether it says that it holds the line up. (Its trigger may do so besides.)
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

    /// On a line of the VMM's own controller: takes the signals of the trigger, which no other
    /// thread does there, and holds the line up until the next EOI if there were any. To be called
    /// when the trigger is readable. Returns whether there were signals.
    ///
    /// On any other line the kernel takes them, or they are to wait until the pin is unmasked:
    /// `false`.
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

    /// Leaves the line, as dropping does, and tells whether that worked.
    ///
    /// # Errors
    ///
    /// [`LevelError::LevelRefused`], [`LevelError::Arm`]: it is on the line as before, and
    /// comes back inside.
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
                log::error!("a device has left its line, but: {error}");
            }
        }
    }
}

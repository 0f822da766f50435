// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`DoorbellRegistry`]: what all sets of a VM share.

mod claims;
mod neighbours;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify_core::Vm;

use claims::Claims;
pub(crate) use claims::{Checked, SetId};
pub(crate) use neighbours::Places;

use crate::bus::Place;
use crate::{Error, IoEventFd, Window};

/// Which places of a VM's buses are taken, and by which of its
/// [`DoorbellSet`](crate::DoorbellSet)s.
///
/// A VMM creates one for each VM. It is a handle: a clone is cheap and is the same registry, and
/// any thread may use it.
///
/// It knows the doorbells of its sets and the windows that it was given, not what else a VMM
/// registers by itself: that shows as [`Error::Taken`] when a plan is applied.
///
/// A doorbell that the kernel did not deregister when its set was dropped is kept here, in
/// *quarantine*: with its notifier, without which it could never be deregistered, and with its
/// place. Each change of any set first tries again to deregister it, so its place can be planned
/// for; if the kernel still keeps it, and it is in the way, that change fails with
/// [`Error::Conflict`]. The drop of the last handle, those of the sets included, tries once more.
///
/// ```
/// use std::sync::Arc;
/// use ioeventfd::{Datamatch, Doorbell, DoorbellRegistry, DoorbellSet, Error, IoAddress, Window};
/// use notify_core::EventNotifier;
/// # use notify_sim::SimVm;
/// # let vm = Arc::new(SimVm::builder().build());
/// let windows = Window::of_irqchip(&*vm)?;
/// let registry = DoorbellRegistry::new(vm, windows);
/// let (disk, net) = (DoorbellSet::new(&registry), DoorbellSet::new(&registry));
///
/// let notifier = Arc::new(EventNotifier::new()?);
/// let at = |port| Doorbell::new(0, IoAddress::Pio(port), Datamatch::U16(0), notifier.clone());
/// disk.apply(disk.plan([at(0xc010)])?)?;
/// assert!(matches!(net.plan([at(0xc010)]), Err(Error::Conflict { .. })), "the disk's");
/// assert!(matches!(net.plan([at(0x20)]), Err(Error::Conflict { .. })), "the PIC's");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct DoorbellRegistry(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    vm: Arc<dyn Vm>,
    /// Held while they are deregistered, ioctls included: a second change has to wait, since it may
    /// want their places. Locked after a set's state and before `claims`.
    quarantine: Mutex<Vec<IoEventFd>>,
    claims: Mutex<Claims>,
}

impl DoorbellRegistry {
    /// Creates the registry of a VM whose devices in the kernel have their registers in `windows`.
    pub fn new(vm: Arc<dyn Vm>, windows: &[Window]) -> Self {
        Self(Arc::new(Shared {
            vm,
            quarantine: Mutex::default(),
            claims: Mutex::new(Claims::new(windows)),
        }))
    }

    pub(crate) fn vm(&self) -> &Arc<dyn Vm> {
        &self.0.vm
    }

    /// Keeps doorbells out of a window from now on.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`], naming a doorbell that is there already.
    pub fn reserve(&self, window: Window) -> Result<(), Error> {
        self.claims(|claims| claims.reserve(window))
    }

    /// Returns how many doorbells are in quarantine, those included that a change is deregistering.
    #[must_use]
    pub fn quarantined(&self) -> usize {
        self.claims(|claims| claims.quarantined())
    }

    /// A look at the claims, or a step of a change.
    pub(crate) fn claims<R>(&self, look: impl FnOnce(&mut Claims) -> R) -> R {
        look(&mut lock(&self.0.claims))
    }

    /// Keeps a doorbell that the kernel did not deregister.
    pub(crate) fn quarantine(&self, doorbell: IoEventFd) {
        let mut quarantine = lock(&self.0.quarantine);
        let place = Place::new(doorbell.address(), doorbell.datamatch());
        self.claims(|claims| claims.quarantine(place));
        quarantine.push(doorbell);
    }

    /// Tries to deregister what is in quarantine. If another change is at it, waits until it is
    /// done.
    pub(crate) fn retry_quarantine(&self) {
        let mut quarantine = lock(&self.0.quarantine);
        let deregistered = |doorbell: &mut IoEventFd| doorbell.deregister().is_ok();
        let gone: Vec<_> = quarantine.extract_if(.., deregistered).collect();
        if !gone.is_empty() {
            self.claims(|claims| {
                let places = gone.iter();
                places.for_each(|one| {
                    claims.release_quarantined(Place::new(one.address(), one.datamatch()));
                });
            });
        }
        // The notifiers of those that are gone may be closed; not under the lock.
        drop(quarantine);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whole whenever the lock is free. If a `Vm` panics, against its contract, a doorbell that it
    // was asked about stays in quarantine.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

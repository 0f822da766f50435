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

/// Which addresses of a VM are taken, and by which of its [`DoorbellSet`](crate::DoorbellSet)s.
///
/// A VMM creates one for each VM. It is a handle: a clone is cheap and refers to the same registry.
/// Any thread may use it.
///
/// It knows the doorbells of its sets and the windows that it was given. It does not know other
/// doorbells of the VMM: a conflict with these is [`Error::Taken`] when a plan is applied.
///
/// # Quarantine
///
/// If the kernel does not deregister a doorbell when its set is dropped, the registry keeps it in
/// *quarantine*. It keeps the notifier too, without which the doorbell could never be deregistered.
/// Each change of any set first tries again to deregister it, so a plan may use its address. If the
/// kernel still keeps it and it conflicts, that change fails with [`Error::Conflict`]. The drop of
/// the last handle tries once more; each set holds a handle.
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
    /// Held while they are deregistered, ioctls included: a second change must wait, since it may
    /// want their places. Lock order: a set's state, this, `claims`.
    quarantine: Mutex<Vec<IoEventFd>>,
    claims: Mutex<Claims>,
}

impl DoorbellRegistry {
    /// Creates the registry of a VM. `windows` has the registers of its devices in the kernel.
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

    /// Refuses doorbells in a window from now on.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`], with the address of a doorbell that is there already.
    pub fn reserve(&self, window: Window) -> Result<(), Error> {
        self.claims(|claims| claims.reserve(window))
    }

    /// Returns the number of doorbells in quarantine, with those that a change is deregistering.
    #[must_use]
    pub fn quarantined(&self) -> usize {
        self.claims(|claims| claims.quarantined())
    }

    /// Runs a closure with the claims locked.
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

    /// Tries to deregister what is in quarantine. Blocks until another thread that does so is done.
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
        // Their notifiers may be closed now, so not under the lock.
        drop(quarantine);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The state is consistent whenever the lock is free. If a `Vm` panics, against its contract,
    // the doorbell of that request stays in quarantine.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

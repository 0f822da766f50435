// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`DoorbellRegistry`]: what all sets of a machine have in common.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify_core::Vm;

use crate::claims::{Claims, SetId};
use crate::place::Place;
use crate::{Error, IoEventFd, Window};

/// Which places of a machine's buses are taken, and by whom. One for each machine; its
/// [`DoorbellSet`](crate::DoorbellSet)s share it, on any threads.
///
/// It knows the doorbells of its sets and the windows that it was told of, not what else a VMM
/// registers by itself: that shows as [`Error::Taken`] when a plan is applied.
///
/// A doorbell that the kernel would not let go of when its set was dropped ends here, in quarantine:
/// with its notifier, without which nobody could ever deregister it, and with its address, which
/// nobody gets. Each new claim tries to get rid of it, and so does dropping the registry.
///
/// ```
/// use std::sync::Arc;
/// use ioeventfd::{Datamatch, Doorbell, DoorbellRegistry, DoorbellSet, Error, IoAddress, Window};
/// use notify_core::EventNotifier;
/// # use notify_core::sim::SimVm;
/// # let vm = Arc::new(SimVm::builder().build());
/// let registry = DoorbellRegistry::new(vm, Window::X86_IRQCHIP);
/// let (disk, net) = (DoorbellSet::new(&registry), DoorbellSet::new(&registry));
///
/// let notifier = Arc::new(EventNotifier::new()?);
/// let at = |port| Doorbell::new(0, IoAddress::Pio(port), Datamatch::U16(0), notifier.clone());
/// disk.apply(disk.plan([at(0xc010)])?)?;
/// assert!(matches!(net.plan([at(0xc010)]), Err(Error::Conflict { .. })), "the disk's");
/// assert!(matches!(net.plan([at(0x20)]), Err(Error::Conflict { .. })), "the PIC's");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct DoorbellRegistry {
    vm: Arc<dyn Vm>,
    next: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    claims: Claims,
    quarantine: Vec<IoEventFd>,
}

impl DoorbellRegistry {
    /// A registry of a machine in whose kernel devices answer at these windows.
    pub fn new(vm: Arc<dyn Vm>, windows: &[Window]) -> Arc<Self> {
        let state = State {
            claims: Claims::new(windows),
            quarantine: Vec::new(),
        };
        Arc::new(Self {
            vm,
            next: AtomicU64::new(0),
            state: Mutex::new(state),
        })
    }

    /// The machine.
    #[must_use]
    pub fn vm(&self) -> &Arc<dyn Vm> {
        &self.vm
    }

    /// Keeps doorbells out of a window from now on.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`], naming a doorbell that is there already.
    pub fn reserve(&self, window: Window) -> Result<(), Error> {
        self.lock().claims.reserve(window)
    }

    /// How many doorbells are in quarantine.
    #[must_use]
    pub fn quarantined(&self) -> usize {
        self.lock().quarantine.len()
    }

    pub(crate) fn next_id(&self) -> SetId {
        SetId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// A look at the claims, or a step of a change.
    pub(crate) fn claims<R>(&self, look: impl FnOnce(&mut Claims) -> R) -> R {
        look(&mut self.lock().claims)
    }

    /// Keeps what the kernel did not let go of.
    pub(crate) fn quarantine(&self, doorbell: IoEventFd) {
        self.lock().quarantine.push(doorbell);
    }

    /// Tries to get rid of what is in quarantine.
    pub(crate) fn clean(&self) {
        // Not under the lock: the ioctl may take its time.
        let doorbells = std::mem::take(&mut self.lock().quarantine);
        for mut doorbell in doorbells {
            let place = Place::new(doorbell.address(), doorbell.datamatch());
            if doorbell.let_go() {
                self.lock().claims.release(place);
            } else {
                self.quarantine(doorbell);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whole whenever the lock is free: no step of a change can panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

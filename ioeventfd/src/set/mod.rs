// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`DoorbellSet`]: the doorbells of a device, changed together.

mod apply;
mod doorbell;
mod kicks;
mod left;
mod lifecycle;
mod plan;
mod relocate;
mod steps;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

pub use doorbell::Doorbell;
pub use kicks::AfterExit;
pub use left::Epoch;
pub use lifecycle::{Leftover, Stopped};
pub use plan::Plan;

use crate::registry::SetId;
use crate::{DoorbellRegistry, Error};
use doorbell::Bell;
use kicks::{ExitTable, Matcher, Target};
use left::LeftPlaces;

/// The doorbells of a device, or of one of its BARs, which change together.
///
/// A set plans and applies changes, moves with a BAR, stops and starts. It also signals the right
/// queue for writes that exit to user space during a change.
///
/// Dropping it deregisters all doorbells. A failure is logged, and a doorbell that stays registered
/// goes to the [registry](DoorbellRegistry#quarantine)'s quarantine. The drop blocks for one
/// KVM_IOEVENTFD each, and on kernels since 6.18 for a grace period (below). Earlier signals stay
/// in the notifiers.
///
/// A new set has no doorbells and is *started*: a plan that is applied registers its doorbells at
/// once.
///
/// # A change
///
/// [`plan`](Self::plan) compares what is wanted with what the set has, finds every conflict, and
/// makes no request to the VM. [`apply`](Self::apply) carries out a plan, all of it or nothing. A
/// doorbell that stays as it is costs no ioctl.
///
/// The order is: removals that conflict with an addition; additions; other removals. So a doorbell
/// that moves is never absent. On kernels since 6.18 a deregistration right after a registration
/// waits for an SRCU grace period (about 8 ms at CONFIG_HZ=250, 20 ms at 100). In this order a
/// change waits once, and not for each doorbell. A VMM that passes exits to the set can choose
/// [removals first](Self::removals_first), which is faster.
///
/// # Memory slots first
///
/// Since Linux 6.18 a registration delays the next request that sets a memory slot, creates a vCPU
/// or deregisters a doorbell: it waits for that grace period. So set all memory slots first
/// (KVM_SET_USER_MEMORY_REGION), both when devices are created and when the guest moves BARs. Then
/// [start](Self::start), [apply](Self::apply) or [relocate](Self::relocate) the doorbells. With 64
/// doorbells and 8 slots that took 0.4 ms; doorbells first took 7 ms; device by device 75 ms.
///
/// # Exits
///
/// Pass each write that exits to user space (KVM_EXIT_MMIO, KVM_EXIT_IO) and may be for the device
/// to [`on_exit_write`](Self::on_exit_write). It signals what KVM would have signalled. That covers
/// doorbells that are being registered, and addresses that the set has left, until the VMM calls
/// [`vcpus_passed`](Self::vcpus_passed).
///
/// It takes a lock that a change holds only to exchange a table, never during an ioctl. It signals
/// with no lock held: a peer that makes [`notify`](notify_core::EventNotifier::notify) block delays
/// neither a change nor the kicks of other queues. If a change gives a queue another notifier
/// meanwhile, the thread that signalled the old one moves the kick to the new one.
///
/// ```
/// use std::sync::Arc;
/// use ioeventfd::{AfterExit, Datamatch, Doorbell, DoorbellRegistry, DoorbellSet};
/// use ioeventfd::{IoAddress, Width};
/// use notify_core::{Bus, EventNotifier};
/// use notify_sim::SimVm;
///
/// let vm = Arc::new(SimVm::builder().build());
/// let set = DoorbellSet::new(&DoorbellRegistry::new(vm.clone(), &[]));
/// let queue = Arc::new(EventNotifier::new()?);
/// let address = IoAddress::Mmio(0xfe00_b000);
/// let bell = Doorbell::new(0, address, Datamatch::Width(Width::W2), queue.clone());
/// set.apply(set.plan([bell])?)?;
///
/// // The guest moves the BAR, and a vCPU rings at the old place once more.
/// let (old, new) = (IoAddress::Mmio(0xfe00_8000), IoAddress::Mmio(0xfd00_0000));
/// let moved = set.relocate(old, 0x4000, new)?;
/// assert_eq!(vm.guest_write(Bus::Mmio, 0xfd00_3000, &[0, 0]).signalled, 1);
/// assert_eq!(vm.guest_write(Bus::Mmio, 0xfe00_b000, &[0, 0]).exits.len(), 1);
/// assert_eq!(set.on_exit_write(address, &[0, 0])?, AfterExit::Resume);
/// assert_eq!(queue.consume()?.map(u64::from), Some(2));
///
/// set.vcpus_passed(moved)?;
/// assert_eq!(set.on_exit_write(address, &[0, 0])?, AfterExit::Emulate);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DoorbellSet {
    id: SetId,
    registry: DoorbellRegistry,
    removals_first: bool,
    /// Held during a change, ioctls included; never while a notifier is signalled.
    state: Mutex<State>,
    /// What exits are matched against. Lock order: `state`, this.
    exits: RwLock<ExitTable>,
}

#[derive(Debug)]
struct State {
    /// In order of their places. If the set is started, all are registered, except those that a
    /// failed undo could not register again. If it is stopped, none is.
    bells: Vec<Bell>,
    /// Registered, and not wanted: left behind by a failed undo.
    stuck: Vec<Bell>,
    left: LeftPlaces,
    started: bool,
    /// A plan of another generation is stale.
    generation: u64,
    /// The highest generation so far; a complete undo goes back to an earlier one.
    latest: u64,
}

impl State {
    /// Makes all earlier plans stale.
    fn next_generation(&mut self) {
        self.latest += 1;
        self.generation = self.latest;
    }

    /// Makes plans stale after a change that failed and was not undone completely.
    fn outdate_unless_undone(&mut self, error: &Error) {
        if matches!(error, Error::NotUndone { .. }) {
            self.next_generation();
        }
    }
}

impl DoorbellSet {
    /// Creates an empty set, started.
    #[must_use]
    pub fn new(registry: &DoorbellRegistry) -> Self {
        let id = SetId::new();
        Self {
            id,
            registry: registry.clone(),
            removals_first: false,
            state: Mutex::new(State {
                bells: Vec::new(),
                stuck: Vec::new(),
                left: LeftPlaces::new(id),
                started: true,
                generation: 0,
                latest: 0,
            }),
            exits: RwLock::default(),
        }
    }

    /// Makes every change remove doorbells before it adds others.
    ///
    /// On Linux 6.18 moving 64 doorbells then takes a fraction of a millisecond instead of several.
    /// In between the guest's kicks exit, and are lost unless the VMM passes them to
    /// [`on_exit_write`](Self::on_exit_write).
    #[must_use]
    pub fn removals_first(mut self) -> Self {
        self.removals_first = true;
        self
    }

    /// Returns its doorbells in order of address, whether it is started or not.
    #[must_use]
    pub fn doorbells(&self) -> Vec<Doorbell> {
        self.lock().bells.iter().map(Bell::doorbell).collect()
    }

    /// Returns whether it is started: its doorbells are registered. A new set is started.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.lock().started
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| {
            // This crate does not panic with the lock held. If a `Vm` did, against its contract,
            // the change is neither done nor undone. Each doorbell knows whether it is registered,
            // so the next plan can start from here once they are in order again.
            self.state.clear_poison();
            let mut state = poisoned.into_inner();
            state.bells.sort_by_key(Bell::place);
            state.next_generation();
            state
        })
    }

    /// Matches exits against these from now on. An exit matched before may still signal.
    fn publish(&self, state: &State) {
        let current = state.bells.iter().filter(|_| state.started);
        let current = current.map(|bell| bell.target(Target::CURRENT));
        self.exchange(current.chain(state.left.targets()).collect());
    }

    fn exchange(&self, targets: Vec<Target>) {
        let mut matcher = Matcher::new(targets);
        let mut shared = self.exits.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut shared.matcher, &mut matcher);
        // The old one is freed without the lock.
        drop(shared);
    }
}

impl Drop for DoorbellSet {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let bells = state.bells.drain(..).chain(state.stuck.drain(..));
        let (mut free, mut kept) = (Vec::new(), Vec::new());
        for mut bell in bells {
            match bell.fd.deregister() {
                Ok(()) => free.push(bell.place()),
                Err(error) => {
                    log::error!("the registry keeps a doorbell of a set that is dropped: {error}");
                    kept.push(bell);
                }
            }
        }
        // What is stuck may have the place of one that is not.
        let stuck: BTreeSet<_> = kept.iter().map(Bell::place).collect();
        free.retain(|place| !stuck.contains(place));
        self.registry
            .claims(|claims| free.into_iter().for_each(|place| claims.release(place)));
        kept.into_iter()
            .for_each(|bell| self.registry.quarantine(bell.fd));
    }
}

impl fmt::Debug for DoorbellSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DoorbellSet")
            .field("doorbells", &self.lock().bells.len())
            .finish_non_exhaustive()
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`RoutingTable`]: the handle that devices share.

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use notify_core::Vm;

use crate::builder::RoutingTableBuilder;
use crate::request::{Demand, discard, guarded, unwind};
use crate::state::State;
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::translation::Translation;
use crate::{
    Error, Gsi, GsiLease, Line, MsiMessage, Observer, Platform, Registration, Route, Transaction,
    Translated,
};

/// The routing table of one VM. Clones share it.
///
/// KVM replaces its table whole, so a VM has one `RoutingTable`, and everything that needs a route
/// uses it. A second one is refused ([`Error::SecondTable`]) as long as a handle of the first, or a
/// guard that holds one, is alive. It is not refused for a second `KvmVm` over the same VM, nor for
/// a [`Vm`] without [`routing_claim`](Vm::routing_claim).
///
/// On x86 the table starts with the pins that KVM wired when it created the irqchip, so that serial
/// port, PIT and RTC keep their interrupts; see [`RoutingTableBuilder::wiring`], also for arm64 and
/// riscv64. KVM's table cannot be read. So the first commit replaces routes that the VMM has set
/// before by other means.
///
/// Dropping the last handle leaves the kernel's table as it is.
///
/// Kernel source: `virt/kvm/irqchip.c`.
///
/// ```
/// use std::sync::Arc;
/// use irq_routing::{IrqChip, MsiMessage, Pin, Pins, RoutingTable};
/// use notify_core::{Vm, LineStatus};
/// use notify_core::sim::SimVm;
///
/// let vm = Arc::new(SimVm::builder().build()); // with a full irqchip; or a KvmVm
/// let table = RoutingTable::new(vm.clone())?;
///
/// // As KVM has it: GSI 4, the serial port, is routed to both controllers.
/// let pins = Pins::new([Pin::new(IrqChip::PicMaster, 4)?, Pin::new(IrqChip::IoApic, 4)?])?;
/// assert_eq!(table.route(table.gsi(4)?), Some(pins.into()));
///
/// // A commit keeps it.
/// let lease = table.lease_msi(MsiMessage::new(0xfee0_0000, 0x40))?;
/// assert_ne!(vm.irq_line_status(4, true)?, LineStatus::Ignored);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RoutingTable {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) vm: Arc<dyn Vm>,
    /// Set when it is decided what the table starts with.
    pub(crate) platform: OnceLock<Platform>,
    pub(crate) limit: u32,
    pub(crate) translation: Translation,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) state: Mutex<State>,
    /// A round of commits has ended.
    pub(crate) ended: Condvar,
    pub(crate) _claim: Claim,
}

/// That no other table is of this VM, if the VM can tell.
pub(crate) struct Claim(Option<Arc<dyn Vm>>);

impl Claim {
    pub(crate) fn take(vm: &Arc<dyn Vm>) -> Result<Self, Error> {
        match vm.routing_claim() {
            Some(claim) if claim.take() => Ok(Self(Some(Arc::clone(vm)))),
            Some(_) => Err(Error::SecondTable),
            None => Ok(Self(None)),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(claim) = self.0.as_ref().and_then(|vm| vm.routing_claim()) {
            claim.release();
        }
    }
}

impl Shared {
    /// The route that the kernel is given for this one.
    pub(crate) fn translated(&self, route: Route) -> Option<Route> {
        match route {
            Route::Msi(message) => self.translation.message(message).map(Route::Msi),
            other => Some(other),
        }
    }
}

impl RoutingTable {
    /// Creates the table of an x86 VM, with a full or a split irqchip.
    ///
    /// The irqchip may be created later, but before the first commit. On other architectures use
    /// [`RoutingTableBuilder::wiring`]; without it each commit fails with [`Error::UnknownWiring`].
    /// The kernel's table does not change before the first commit.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`], [`Error::NoRoutingTable`], [`Error::SecondTable`].
    pub fn new(vm: Arc<dyn Vm>) -> Result<Self, Error> {
        Self::builder(vm).build()
    }

    /// The table of any VM.
    pub fn builder(vm: Arc<dyn Vm>) -> RoutingTableBuilder {
        RoutingTableBuilder::new(vm)
    }

    /// The VM.
    #[inline]
    #[must_use]
    pub fn vm(&self) -> &Arc<dyn Vm> {
        &self.shared.vm
    }

    /// The interrupt controllers that the table is for: those of the builder's wiring, or of the
    /// VM. If the VM has none yet, those that are usual on the host's architecture.
    #[inline]
    #[must_use]
    pub fn platform(&self) -> Platform {
        match self.shared.platform.get() {
            Some(platform) => *platform,
            None => self.vm().platform().ok().flatten().unwrap_or_default(),
        }
    }

    /// How many GSIs the VM has: all numbers below this.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.shared.limit
    }

    /// How many of the lowest GSIs [`lease`](Self::lease) does not take.
    #[must_use]
    pub fn reserved_gsis(&self) -> u32 {
        self.lock().slots.reserved()
    }

    /// What the kernel is given for a message of a device, as the table's translation has it.
    ///
    /// Routes are translated by their commits. This is for messages that go another way
    /// (KVM_SIGNAL_MSI), which must be translated too.
    #[inline]
    #[must_use]
    pub fn translate(&self, message: MsiMessage) -> Option<MsiMessage> {
        self.shared.translation.message(message)
    }

    /// Whether the table has a translation.
    #[inline]
    #[must_use]
    pub fn translates(&self) -> bool {
        self.shared.translation.is_some()
    }

    /// Registers what sends messages of its own, so that [`retranslate`](Self::retranslate) reaches
    /// it.
    pub fn register(&self, translated: Weak<dyn Translated>) -> Registration {
        Registration::translated(self, translated)
    }

    /// How many leases are held. Parked ones are not.
    #[must_use]
    pub fn leased(&self) -> usize {
        self.lock().slots.leased()
    }

    /// The GSI of this number.
    ///
    /// # Errors
    ///
    /// [`Error::GsiOutOfRange`].
    pub fn gsi(&self, number: u32) -> Result<Gsi, Error> {
        let limit = self.shared.limit;
        Gsi::below(limit, number).ok_or(Error::GsiOutOfRange { gsi: number, limit })
    }

    /// Where a GSI is routed, as committed, or as the table has started.
    #[must_use]
    pub fn route(&self, gsi: Gsi) -> Option<Route> {
        self.lock().slots.get(gsi).route()
    }

    /// All routes, as committed, or as the table has started, in the order of their GSIs.
    #[must_use]
    pub fn routes(&self) -> Vec<(Gsi, Route)> {
        self.lock().slots.routes().collect()
    }

    /// Takes the lowest GSI that is free and not reserved. If there is none, takes back the lease
    /// that has been parked longest ([`GsiLease::park`]). The GSI has no route yet. No ioctl.
    ///
    /// # Errors
    ///
    /// [`Error::Exhausted`].
    pub fn lease(&self) -> Result<GsiLease, Error> {
        self.lease_if_free()
            .ok_or_else(|| self.lock().slots.exhausted(1))
    }

    /// The same as [`lease`](Self::lease), without an error that names the holders of all leases:
    /// that takes time where there are thousands. It waits for a commit under way only if no GSI is
    /// free or parked but those that the commit changes.
    #[must_use]
    pub fn lease_if_free(&self) -> Option<GsiLease> {
        let (gsi, id) = self.take(State::lease)?;
        Some(GsiLease::new(self.clone(), gsi, id))
    }

    /// Takes this GSI, reserved or not, as a restored device does, also from a parked lease. A GSI
    /// that is wired to pins cannot be leased; use [`line`](Self::line) for it. Waits for a commit
    /// under way that changes the GSI. No ioctl.
    ///
    /// # Errors
    ///
    /// [`Error::GsiInUse`], [`Error::GsiOutOfRange`].
    pub fn lease_exact(&self, number: u32) -> Result<GsiLease, Error> {
        let gsi = self.gsi(number)?;
        let id = self.lock_settled(gsi).lease_exact(gsi)?;
        Ok(GsiLease::new(self.clone(), gsi, id))
    }

    /// Takes `count` GSIs in a row, of which the first is a multiple of `count`, or of the next
    /// power of two: the lowest that are free and not reserved. If there are none, the lowest that
    /// are free or parked; then the parked leases among them are taken back. No ioctl.
    ///
    /// # Errors
    ///
    /// [`Error::Exhausted`]: then none is taken.
    pub fn lease_block(&self, count: u32) -> Result<Vec<GsiLease>, Error> {
        let block = self.take(|state| state.lease_block(count));
        let block = block.ok_or_else(|| self.lock().slots.exhausted(count))?;
        let lease = |(gsi, id)| GsiLease::new(self.clone(), gsi, id);
        Ok(block.into_iter().map(lease).collect())
    }

    /// Takes a GSI and routes it to a message: [`lease`](Self::lease) and a transaction of one
    /// edit, which is one ioctl. For a device with many vectors use one transaction for all.
    ///
    /// # Errors
    ///
    /// Those of [`lease`](Self::lease) and [`Transaction::commit`].
    pub fn lease_msi(&self, message: MsiMessage) -> Result<GsiLease, Error> {
        let lease = self.lease()?;
        lease.set_route(message)?;
        Ok(lease)
    }

    /// A share of a GSI of the VM's own wiring; see [`Transaction::wire`]. If no commit has
    /// succeeded yet, this commits what the table starts with, by one ioctl, so that the kernel has
    /// the route.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoute`] if it is not wired, [`Error::GsiInUse`] if it is leased,
    /// [`Error::GsiOutOfRange`], and those of a first commit.
    pub fn line(&self, number: u32) -> Result<Line, Error> {
        let gsi = self.gsi(number)?;
        self.shared.start()?;
        let line = Line::shared(self, gsi)?;
        let was_committed = self.lock().was_committed;
        if !was_committed {
            self.submit(Demand::Edits)?;
        }
        Ok(line)
    }

    /// Starts a transaction. It holds no lock, and there may be any number at once.
    pub fn transaction(&self) -> Transaction {
        let spare = std::mem::take(&mut self.lock().spare_edits);
        Transaction::new(self.clone(), spare)
    }

    /// Gives the kernel the whole table again, with one ioctl: after something else has replaced
    /// it, as the initialisation of an arm64 GIC does.
    ///
    /// # Errors
    ///
    /// Those of [`Transaction::commit`] that the kernel causes.
    pub fn recommit(&self) -> Result<(), Error> {
        self.submit(Demand::Recommit)
    }

    /// Translates every message anew, and gives the kernel what has changed, with one ioctl if
    /// anything has: after the tables of an emulated IOMMU have changed, for instance. When this
    /// returns, no signal follows an old translation.
    ///
    /// # Errors
    ///
    /// [`Error::Untranslated`] names those whose new translation the kernel refuses, or has no
    /// entry for. They are blocked, and all others are in force. [`Error::RouteHeld`] names a GSI
    /// whose message is blocked, or refused, while its route cannot go: its old translation is
    /// still in force, and that of others that are held. All others are in force or blocked.
    /// Otherwise those of [`Transaction::commit`] that the kernel causes; then all old translations
    /// are still in force, or an unknown part of them if the search for a refused message failed.
    ///
    /// # Panics
    ///
    /// If the translation does; then all old translations are still in force. If the VM does; then
    /// what is in force is unknown until the next commit.
    pub fn retranslate(&self) -> Result<(), Error> {
        let routes = guarded(|| self.submit(Demand::Retranslate));
        let translated = self.lock().registered.translated();
        let messages = translated
            .iter()
            .map(|one| guarded(|| Arc::clone(one).retranslate()));
        // All of them, also after a panic: old translations must not stay in force.
        let failed = messages.filter_map(Result::err).reduce(|first, other| {
            discard(other);
            first
        });
        let routes = match routes {
            Ok(routes) => routes,
            Err(failure) => return unwind(failure),
        };
        match failed {
            Some(failure) => unwind(failure),
            None => routes,
        }
    }

    /// Removes the routes that dropped leases left in the kernel, with one ioctl if there are any.
    /// Otherwise the next commit that changes something does it. For a VM that is being closed this
    /// does nothing.
    ///
    /// # Errors
    ///
    /// Those of [`Transaction::commit`] that the kernel causes.
    pub fn flush(&self) -> Result<(), Error> {
        self.submit(Demand::Flush)
    }

    pub(crate) fn submit(&self, demand: Demand) -> Result<(), Error> {
        self.shared.submit(demand, &mut Vec::new())
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock()
    }

    /// Takes of what is free or parked. A commit under way may have some of it; then this waits for
    /// the end of that commit before it fails.
    fn take<T>(&self, take: impl Fn(&mut State) -> Option<T>) -> Option<T> {
        let mut state = self.lock();
        loop {
            match take(&mut state) {
                None if state.slots.may_become_free() => state = self.shared.ended.wait(state),
                taken => return taken,
            }
        }
    }

    /// The state, while no commit under way changes this GSI.
    pub(crate) fn lock_settled(&self, gsi: Gsi) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        while state.slots.is_unsettled(gsi) {
            state = self.shared.ended.wait(state);
        }
        state
    }
}

/// Whether both are handles of one table.
impl PartialEq for RoutingTable {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for RoutingTable {}

impl fmt::Debug for RoutingTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoutingTable")
            .field("vm", &self.shared.vm)
            .field("platform", &self.shared.platform.get())
            .field("limit", &self.shared.limit)
            .finish_non_exhaustive()
    }
}

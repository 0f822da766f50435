// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`RoutingTable`], the handle that devices share, and what its holders hold.

pub(crate) mod armed;
pub(crate) mod driven;
pub(crate) mod lease;
mod leasing;
pub(crate) mod line;
pub(crate) mod observer;
pub(crate) mod parked;
pub(crate) mod registration;
pub(crate) mod shared;
pub(crate) mod slots;
pub(crate) mod state;
pub(crate) mod translation;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use notify_core::Vm;

use crate::commit::request::RequestKind;
use crate::sync::MutexGuard;
use crate::table::shared::Shared;
use crate::table::state::State;
use crate::{Error, Gsi, KernelRoute, Line, MsiMessage, Platform, Registration, Route};

/// The routing table of one VM. Clones share it.
///
/// KVM replaces its table whole, so a VM has one `RoutingTable`, and everything that needs a route
/// uses it. A second one is refused ([`Error::SecondTable`]) as long as a handle of the first, or a
/// guard that holds one, is alive. It is not refused for a second `KvmVm` over the same VM, nor for
/// a [`Vm`] without [`routing_claim`](Vm::routing_claim).
///
/// On x86 the table starts with the pins that KVM wired when it created the irqchip, so that serial
/// port, PIT and RTC keep their interrupts; see
/// [`RoutingTableBuilder::wiring`](crate::RoutingTableBuilder::wiring), also for arm64 and riscv64.
/// KVM's table cannot be read. So the first commit replaces routes that the VMM has set
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
/// use notify_sim::SimVm;
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

impl RoutingTable {
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
    pub(crate) fn limit(&self) -> u32 {
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

    /// Registers what sends messages of its own by [`translate`](Self::translate):
    /// [`retranslate`](Self::retranslate) calls this, on its caller's thread, while no lock is
    /// held. When the callback returns, no message may go where an old translation led.
    ///
    /// It may still be called, once, by a call that was under way when the registration was
    /// dropped. It should not keep alive what it is registered for: let it hold a `Weak`.
    pub fn on_retranslate(&self, callback: impl Fn() + Send + Sync + 'static) -> Registration {
        Registration::translated(self, Arc::new(callback))
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

    /// What the kernel's table has for a GSI, as far as is known. While a commit is under way, what
    /// it had before.
    #[must_use]
    pub fn kernel_route(&self, gsi: Gsi) -> KernelRoute {
        self.lock().kernel_route(gsi)
    }

    /// All routes, as committed, or as the table has started, in the order of their GSIs.
    #[must_use]
    pub fn routes(&self) -> Vec<(Gsi, Route)> {
        self.lock().slots.routes().collect()
    }

    /// A share of a GSI of the VM's own wiring; see
    /// [`Transaction::wire`](crate::Transaction::wire). If no commit has succeeded yet, this
    /// commits what the table starts with, by one ioctl, so that the kernel has the route.
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
            self.submit(RequestKind::Transaction)?;
        }
        Ok(line)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock()
    }

    /// The state, while no commit under way changes this GSI.
    pub(crate) fn lock_settled(&self, gsi: Gsi) -> MutexGuard<'_, State> {
        let unsettled = |state: &State| state.slots.is_unsettled(gsi);
        self.shared.ended.wait_while(self.lock(), unsettled)
    }
}

/// Whether both are handles of one table.
impl PartialEq for RoutingTable {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for RoutingTable {}

impl Hash for RoutingTable {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.shared).hash(state);
    }
}

impl fmt::Debug for RoutingTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoutingTable")
            .field("vm", &self.shared.vm)
            .field("platform", &self.shared.platform.get())
            .field("limit", &self.shared.limit)
            .finish_non_exhaustive()
    }
}

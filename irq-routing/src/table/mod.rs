// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`RoutingTable`], the handle that devices share, and the guards that it gives out.

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

/// The GSI routing table of one VM: a handle, whose clones share the table.
///
/// KVM replaces its table as a whole, so a VM has one `RoutingTable`, and every device uses a clone
/// of it. A second one is refused ([`Error::SecondTable`]) as long as a handle of the first, or a
/// guard that holds one, is alive. It is not refused for a second `KvmVm` over the same VM, nor for
/// a [`Vm`] without [`routing_claim`](Vm::routing_claim).
///
/// On x86 the table starts with the pins that KVM wired when it created the irqchip, so that the
/// serial port, the PIT and the RTC keep their interrupts; see
/// [`RoutingTableBuilder::wiring`](crate::RoutingTableBuilder::wiring), also for arm64 and riscv64.
/// KVM's table cannot be read, so the first commit removes routes that the VMM has set before by
/// other means.
///
/// Dropping the last handle leaves the kernel's table as it is. All methods may be called on any
/// thread.
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
    /// Returns the VM.
    #[inline]
    #[must_use]
    pub fn vm(&self) -> &Arc<dyn Vm> {
        &self.shared.vm
    }

    /// Returns the interrupt controllers that the table is for.
    ///
    /// They are those of the builder's wiring, or of the VM. If the VM has none yet, returns the
    /// usual ones of the host's architecture.
    #[inline]
    #[must_use]
    pub fn platform(&self) -> Platform {
        match self.shared.platform.get() {
            Some(platform) => *platform,
            None => self.vm().platform().ok().flatten().unwrap_or_default(),
        }
    }

    /// The VM's number of GSIs; they are numbered from 0.
    pub(crate) fn limit(&self) -> u32 {
        self.shared.limit
    }

    /// Returns how many of the lowest GSIs [`lease`](Self::lease) does not take.
    #[must_use]
    pub fn reserved_gsis(&self) -> u32 {
        self.lock().slots.reserved()
    }

    /// Translates a message by the table's translation; returns `None` if it is blocked.
    ///
    /// Commits translate the routes. This is for messages that are sent in another way
    /// (KVM_SIGNAL_MSI), which must be translated too. Returns the message unchanged if the table
    /// has no translation.
    #[inline]
    #[must_use]
    pub fn translate(&self, message: MsiMessage) -> Option<MsiMessage> {
        self.shared.translation.message(message)
    }

    /// Returns whether the table has a translation.
    #[inline]
    #[must_use]
    pub fn translates(&self) -> bool {
        self.shared.translation.is_some()
    }

    /// Registers a callback that [`retranslate`](Self::retranslate) calls, for senders that use
    /// [`translate`](Self::translate).
    ///
    /// It is called on the thread of that caller, while no lock is held. When it returns, no
    /// message may be sent by an old translation any more.
    ///
    /// A `retranslate` that was under way when the registration was dropped may still call it once.
    /// It should not keep alive the object that it is registered for: let it hold a `Weak`.
    pub fn on_retranslate(&self, callback: impl Fn() + Send + Sync + 'static) -> Registration {
        Registration::translated(self, Arc::new(callback))
    }

    /// Returns how many leases are held, without parked ones.
    #[must_use]
    pub fn leased(&self) -> usize {
        self.lock().slots.leased()
    }

    /// Returns the GSI of this number.
    ///
    /// # Errors
    ///
    /// [`Error::GsiOutOfRange`].
    pub fn gsi(&self, number: u32) -> Result<Gsi, Error> {
        let limit = self.shared.limit;
        Gsi::below(limit, number).ok_or(Error::GsiOutOfRange { gsi: number, limit })
    }

    /// Returns the route of a GSI, as committed or as the table has started, before any
    /// translation.
    #[must_use]
    pub fn route(&self, gsi: Gsi) -> Option<Route> {
        self.lock().slots.get(gsi).route()
    }

    /// Returns what the kernel's table has for a GSI, as far as is known.
    ///
    /// During a commit, returns what it had before.
    #[must_use]
    pub fn kernel_route(&self, gsi: Gsi) -> KernelRoute {
        self.lock().kernel_route(gsi)
    }

    /// Returns all routes in the order of their GSIs, as committed or as the table has started.
    #[must_use]
    pub fn routes(&self) -> Vec<(Gsi, Route)> {
        self.lock().slots.routes().collect()
    }

    /// Creates a [`Line`]: a share of a GSI of the VM's wiring
    /// ([`Transaction::wire`](crate::Transaction::wire)).
    ///
    /// If no commit has succeeded yet, this commits what the table starts with, by one ioctl, so
    /// that the kernel has the route. Waits for a commit under way that changes the GSI.
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

    /// Locks the state when no commit under way changes this GSI.
    pub(crate) fn lock_settled(&self, gsi: Gsi) -> MutexGuard<'_, State> {
        let unsettled = |state: &State| state.slots.is_unsettled(gsi);
        self.shared.ended.wait_while(self.lock(), unsettled)
    }
}

/// Equal if both are handles of one table.
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

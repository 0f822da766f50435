// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Transaction`]: any number of edits, at most one ioctl.

use crate::commit::edit::{Change, Edit, KEPT_EDITS};
use crate::commit::request::RequestKind;
use crate::{Gsi, GsiLease, Pins, Rejected, Route, RoutingTable};

/// Edits to a routing table that take effect together or not at all.
///
/// The last edit of a GSI counts, and earlier ones do not. Dropping a transaction discards it.
///
/// ```
/// # use std::sync::Arc;
/// # use irq_routing::{MsiMessage, RoutingTable};
/// # use notify_sim::{CallKind, SimVm};
/// # let vm = Arc::new(SimVm::builder().build());
/// # let table = RoutingTable::new(vm.clone())?;
/// let vectors: Vec<_> = (0..64).map(|_| table.lease()).collect::<Result<_, _>>()?;
/// let mut transaction = table.transaction();
/// for (vector, lease) in (0x40..).zip(&vectors) {
///     transaction.route(lease, MsiMessage::new(0xfee0_0000, vector));
/// }
/// transaction.commit()?;
/// assert_eq!(vm.calls(CallKind::SetGsiRouting), 1);
/// # Ok::<(), irq_routing::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a transaction does nothing until it is committed"]
pub struct Transaction {
    table: RoutingTable,
    edits: Vec<Edit>,
}

impl Transaction {
    pub(crate) fn new(table: RoutingTable, spare: Vec<Edit>) -> Self {
        Self {
            table,
            edits: spare,
        }
    }

    /// Leads a leased GSI to a message or to pins.
    pub fn route(&mut self, lease: &GsiLease, route: impl Into<Route>) -> &mut Self {
        self.change(lease, Some(route.into()))
    }

    /// Leads a leased GSI nowhere. Dropping the lease does it too, later and for less.
    pub fn unroute(&mut self, lease: &GsiLease) -> &mut Self {
        self.change(lease, None)
    }

    /// Leads a GSI of the machine's own wiring to pins. It belongs to no device; those that signal
    /// it hold a [`Line`](crate::Line) each.
    pub fn wire(&mut self, gsi: Gsi, pins: impl Into<Pins>) -> &mut Self {
        self.stage(gsi, Change::Wiring(Some(pins.into())))
    }

    /// Takes a GSI out of the machine's own wiring.
    pub fn unwire(&mut self, gsi: Gsi) -> &mut Self {
        self.stage(gsi, Change::Wiring(None))
    }

    /// Makes the edits effective: for the kernel, then for the table.
    ///
    /// If they change nothing there is no ioctl; otherwise there is one, shared with commits that
    /// came at the same time (more if the kernel refuses one of those), and when this returns every
    /// irqfd follows the new routes. The first commit to a table always issues.
    ///
    /// If the kernel's table has too few entries for the edits, this takes back parked leases
    /// ([`GsiLease::park`]), the longest parked first. They stay taken back if the kernel then
    /// refuses the table.
    ///
    /// # Errors
    ///
    /// The edits are validated first: [`NotLeased`](crate::Error::NotLeased),
    /// [`GsiInUse`](crate::Error::GsiInUse), [`RouteHeld`](crate::Error::RouteHeld),
    /// [`PinShared`](crate::Error::PinShared),
    /// [`NoSuchChip`](crate::Error::NoSuchChip), [`TableFull`](crate::Error::TableFull),
    /// [`GsiOutOfRange`](crate::Error::GsiOutOfRange). Then the kernel may refuse:
    /// [`NoIrqChip`](crate::Error::NoIrqChip), [`OtherPlatform`](crate::Error::OtherPlatform),
    /// [`Retired`](crate::Error::Retired), [`Refused`](crate::Error::Refused). As long as it is not
    /// known what the table starts with, also [`UnknownWiring`](crate::Error::UnknownWiring) and
    /// [`Platform`](crate::Error::Platform). In every case nothing has changed, and the transaction
    /// comes back inside.
    ///
    /// # Panics
    ///
    /// If the table's translation panics for one of the messages, or the VM for the edits. Then the
    /// table has not changed. If it was the VM, what the kernel has is unknown until the next
    /// commit, which issues in any case.
    pub fn commit(mut self) -> Result<(), Rejected<Self>> {
        let shared = self.table.shared();
        match shared.submit(RequestKind::Transaction, &mut self.edits) {
            Ok(()) => {
                self.table.recycle(std::mem::take(&mut self.edits));
                Ok(())
            }
            Err(error) => Err(Rejected::new(error, self)),
        }
    }

    fn change(&mut self, lease: &GsiLease, route: Option<Route>) -> &mut Self {
        self.stage(lease.gsi(), Change::Lease(lease.id(), route))
    }

    fn stage(&mut self, gsi: Gsi, change: Change) -> &mut Self {
        self.edits.push(Edit::new(gsi, change));
        self
    }
}

impl RoutingTable {
    /// Leaves the memory of edits to the next transaction, so that a steady state allocates
    /// nothing.
    pub(crate) fn recycle(&self, mut edits: Vec<Edit>) {
        edits.clear();
        edits.shrink_to(KEPT_EDITS);
        let spare = &mut self.lock().spare_edits;
        if edits.capacity() > spare.capacity() {
            *spare = edits;
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Transaction`]: any number of edits, at most one ioctl.

use crate::commit::edit::{Change, Edit, KEPT_EDITS};
use crate::commit::request::RequestKind;
use crate::{Gsi, GsiLease, Pins, Rejected, Route, RoutingTable};

/// Edits of a routing table that take effect together or not at all.
///
/// If a GSI is edited more than once, the last edit counts, and earlier ones are not validated.
/// Dropping a transaction discards its edits.
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

    /// Stages a route of a leased GSI: to a message or to pins.
    pub fn route(&mut self, lease: &GsiLease, route: impl Into<Route>) -> &mut Self {
        self.change(lease, Some(route.into()))
    }

    /// Stages the removal of a leased GSI's route.
    ///
    /// Dropping the lease does the same without an ioctl of its own, at the next commit.
    pub fn unroute(&mut self, lease: &GsiLease) -> &mut Self {
        self.change(lease, None)
    }

    /// Stages a GSI of the VM's wiring, routed to pins.
    ///
    /// It belongs to no device; each device that signals it holds a [`Line`](crate::Line).
    pub fn wire(&mut self, gsi: Gsi, pins: impl Into<Pins>) -> &mut Self {
        self.stage(gsi, Change::Wiring(Some(pins.into())))
    }

    /// Stages the removal of a GSI from the VM's wiring.
    pub fn unwire(&mut self, gsi: Gsi) -> &mut Self {
        self.stage(gsi, Change::Wiring(None))
    }

    /// Commits the edits, with at most one ioctl. Blocks while the kernel takes the table.
    ///
    /// If they change nothing there is no ioctl. Otherwise there is one, shared with commits of
    /// other threads that arrived at the same time (more if the kernel refuses one of those). The
    /// first commit to a table always issues one. When this returns, every irqfd follows the new
    /// routes.
    ///
    /// If the kernel's table has too few entries for the edits, this takes back parked leases
    /// ([`GsiLease::park`]), the longest parked first. They stay taken back if the kernel then
    /// refuses the table.
    ///
    /// # Errors
    ///
    /// The edits are validated first: [`NotLeased`](crate::Error::NotLeased),
    /// [`GsiInUse`](crate::Error::GsiInUse), [`RouteHeld`](crate::Error::RouteHeld),
    /// [`PinShared`](crate::Error::PinShared), [`NoSuchChip`](crate::Error::NoSuchChip),
    /// [`TableFull`](crate::Error::TableFull), [`GsiOutOfRange`](crate::Error::GsiOutOfRange). Then
    /// the kernel may refuse the table: [`NoIrqChip`](crate::Error::NoIrqChip),
    /// [`OtherPlatform`](crate::Error::OtherPlatform), [`Retired`](crate::Error::Retired),
    /// [`Refused`](crate::Error::Refused). Until it is known what the table starts with, also
    /// [`UnknownWiring`](crate::Error::UnknownWiring) and [`Platform`](crate::Error::Platform). In
    /// every case nothing has changed, and [`Rejected`] contains the transaction.
    ///
    /// # Panics
    ///
    /// If the table's translation or the VM panics. Then the table has not changed. After a panic
    /// of the VM the kernel's table is unknown until the next commit, which always issues an ioctl.
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
    /// Keeps the memory of edits for the next transaction, so that a steady state allocates
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

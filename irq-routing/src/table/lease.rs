// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`GsiLease`]: the right to one GSI.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use crate::commit::edit::{Change, Edit};
use crate::commit::message_edit::MessageEdit;
use crate::table::slots::LeaseId;
use crate::{Armed, Error, Gsi, Line, MsiMessage, Registration, Rejected, Route, RoutingTable};

/// The right to one GSI of a table, and to lead it somewhere.
///
/// Dropping it gives the number back and issues no ioctl: the route that the kernel still has is
/// removed by the next commit that changes something, overwritten by the next holder, or removed by
/// [`RoutingTable::flush`]. A holder that does not need the GSI for a while, and wants it back
/// without a commit, [parks](Self::park) the lease instead.
///
/// ```
/// # use std::sync::Arc;
/// # use irq_routing::{MsiMessage, RoutingTable};
/// # use notify_sim::SimVm;
/// # let table = RoutingTable::new(Arc::new(SimVm::builder().build()))?;
/// let lease = table.lease()?;
/// assert_eq!(lease.route(), None);
/// lease.set_route(MsiMessage::new(0xfee0_0000, 0x40))?;
///
/// let gsi = lease.gsi();
/// drop(lease);
/// assert_eq!(table.lease()?.gsi(), gsi);
/// # Ok::<(), irq_routing::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping a lease gives the GSI back"]
pub struct GsiLease {
    table: RoutingTable,
    gsi: Gsi,
    id: LeaseId,
    /// How many message edits were staged.
    edits: AtomicU64,
}

impl GsiLease {
    pub(crate) fn new(table: RoutingTable, gsi: Gsi, id: LeaseId) -> Self {
        Self {
            table,
            gsi,
            id,
            edits: AtomicU64::new(0),
        }
    }

    /// The GSI.
    #[must_use]
    pub fn gsi(&self) -> Gsi {
        self.gsi
    }

    /// The table that it belongs to.
    #[must_use]
    pub fn table(&self) -> &RoutingTable {
        &self.table
    }

    /// The same lease, held under this name: that of a device, or of one of its vectors. When no
    /// GSI is left, [`Error::Exhausted`] says who holds how many.
    pub fn named(self, name: impl Into<Arc<str>>) -> Self {
        self.table.lock().slots.set_name(self.gsi, name.into());
        self
    }

    /// The name that it is held under.
    #[must_use]
    pub fn name(&self) -> Option<Arc<str>> {
        self.table.lock().slots.name(self.gsi).cloned()
    }

    /// Where it leads, as committed.
    #[must_use]
    pub fn route(&self) -> Option<Route> {
        self.table.route(self.gsi)
    }

    /// Leads it to a message or to pins: a transaction of one edit. Several routes are better
    /// changed by one transaction.
    ///
    /// # Errors
    ///
    /// Those of [`Transaction::commit`](crate::Transaction::commit).
    pub fn set_route(&self, route: impl Into<Route>) -> Result<(), Error> {
        let mut transaction = self.table.transaction();
        transaction.route(self, route);
        Ok(transaction.commit()?)
    }

    /// Stages an edit for [`RoutingTable::commit_each`], which leads the GSI to a message. It may
    /// be committed on another thread and later: of the edits of a lease only the one that was
    /// staged last counts, in whatever order they are committed.
    #[must_use = "an edit does nothing until it is committed"]
    pub fn edit(&self, message: MsiMessage) -> MessageEdit {
        // Callers that stage at the same time have no order.
        let number = self.edits.fetch_add(1, Ordering::Relaxed) + 1;
        MessageEdit(Edit::new(
            self.gsi,
            Change::Message(self.id, number, message),
        ))
    }

    /// Keeps the route in place, so that something can be armed on it.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoute`]; the lease comes back inside.
    pub fn into_line(self) -> Result<Line, Rejected<Self>> {
        Line::leased(self)
    }

    /// The same as [`into_line`](Self::into_line) and [`Line::register`], in one step: the table
    /// never sees the line without what is registered. Returns the line, the registration, and
    /// whether the message is blocked.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoute`]; the lease comes back inside.
    pub fn into_registered_line(
        self,
        armed: Weak<dyn Armed>,
    ) -> Result<(Line, Registration, bool), Rejected<Self>> {
        Line::registered(self, armed)
    }

    /// Leaves the GSI to the owner that claims it.
    pub(crate) fn leave_unclaimed(self) {
        self.table.lock().leave_unclaimed(self.gsi);
    }

    pub(crate) fn id(&self) -> LeaseId {
        self.id
    }
}

impl Drop for GsiLease {
    fn drop(&mut self) {
        self.table.lock().release(self.gsi, self.id);
    }
}

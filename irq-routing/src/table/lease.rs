// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`GsiLease`]: the right to one GSI.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use crate::commit::edit::{Change, Edit};
use crate::commit::message_edit::MessageEdit;
use crate::table::slots::LeaseId;
use crate::{Armed, Error, Gsi, Line, MsiMessage, Registration, Rejected, Route, RoutingTable};

/// The right to one GSI of a table, and to set its route.
///
/// Dropping it frees the number and issues no ioctl. The route that the kernel still has is removed
/// by the next commit that changes something or by [`RoutingTable::flush`], or overwritten by the
/// next holder. A holder that does not need the GSI for a while [parks](Self::park) the lease
/// instead, and gets it back without a commit.
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
    /// The number of message edits that were staged.
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

    /// Returns the GSI.
    #[must_use]
    pub fn gsi(&self) -> Gsi {
        self.gsi
    }

    /// Returns the table that it belongs to.
    #[must_use]
    pub fn table(&self) -> &RoutingTable {
        &self.table
    }

    /// Sets the name of the holder: a device, or one of its vectors.
    ///
    /// When no GSI is left, [`Error::Exhausted`] lists the holders and how many leases each has.
    pub fn named(self, name: impl Into<Arc<str>>) -> Self {
        self.table.lock().slots.set_name(self.gsi, name.into());
        self
    }

    /// Returns the name of the holder.
    #[must_use]
    pub fn name(&self) -> Option<Arc<str>> {
        self.table.lock().slots.name(self.gsi).cloned()
    }

    /// Returns the committed route, before any translation.
    #[must_use]
    pub fn route(&self) -> Option<Route> {
        self.table.route(self.gsi)
    }

    /// Routes it to a message or to pins, with at most one ioctl: a transaction of one edit.
    ///
    /// To change several routes use one [`Transaction`](crate::Transaction), or
    /// [`RoutingTable::commit_each`].
    ///
    /// # Errors
    ///
    /// Those of [`Transaction::commit`](crate::Transaction::commit).
    pub fn set_route(&self, route: impl Into<Route>) -> Result<(), Error> {
        let mut transaction = self.table.transaction();
        transaction.route(self, route);
        Ok(transaction.commit()?)
    }

    /// Stages an edit for [`RoutingTable::commit_each`] that routes the GSI to a message.
    ///
    /// It may be committed later and on another thread: of the edits of a lease only the one that
    /// was staged last counts, in whatever order they are committed.
    #[must_use = "an edit does nothing until it is committed"]
    pub fn edit(&self, message: MsiMessage) -> MessageEdit {
        // Callers that stage at the same time have no order.
        let number = self.edits.fetch_add(1, Ordering::Relaxed) + 1;
        MessageEdit(Edit::new(
            self.gsi,
            Change::Message(self.id, number, message),
        ))
    }

    /// Converts it into a [`Line`], which keeps the route in place while something is armed on it.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoute`]; [`Rejected`] contains the lease.
    pub fn into_line(self) -> Result<Line, Rejected<Self>> {
        Line::leased(self)
    }

    /// Does [`into_line`](Self::into_line) and [`Line::register`] in one step.
    ///
    /// So no commit sees the line without what is registered. Returns the line, the registration,
    /// and whether the message is blocked.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoute`]; [`Rejected`] contains the lease.
    pub fn into_registered_line(
        self,
        armed: Weak<dyn Armed>,
    ) -> Result<(Line, Registration, bool), Rejected<Self>> {
        Line::registered(self, armed)
    }

    /// Leaves the GSI, with its route, to the owner that claims it.
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

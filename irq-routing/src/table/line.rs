// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Line`]: a GSI whose route cannot be removed.

use std::sync::Weak;

use crate::table::slots::Slot;
use crate::table::state::State;
use crate::{Armed, DrivenLine, Error, Gsi, GsiLease, Registration, Rejected, RoutingTable};

/// A GSI whose route may be changed, but not removed, as long as this lives.
///
/// An object that signals a GSI holds its `Line`, because KVM accepts signals of a GSI without a
/// route and loses them. With posted interrupts the consequences are worse: Intel hosts continue to
/// post the old message, and AMD hosts with Linux before 5.18 read beyond an array, which can crash
/// the host. So the route stays until what is armed is disarmed.
///
/// There are two kinds. One owns a lease ([`GsiLease::into_line`]); dropping it frees the GSI. The
/// other is a share of a GSI of the VM's wiring ([`RoutingTable::line`]). Dropping either issues no
/// ioctl.
///
/// ```
/// # use std::sync::Arc;
/// # use irq_routing::{Error, MsiMessage, RoutingTable};
/// # use notify_sim::SimVm;
/// # let table = RoutingTable::new(Arc::new(SimVm::builder().build()))?;
/// let line = table.lease_msi(MsiMessage::new(0xfee0_0000, 0x40))?.into_line()?;
/// if let Some(lease) = line.lease() {
///     lease.set_route(MsiMessage::new(0xfee0_1000, 0x41))?; // another vCPU: fine
///
///     let mut transaction = table.transaction();
///     transaction.unroute(lease);
///     assert!(matches!(transaction.commit().map_err(Error::from), Err(Error::RouteHeld { .. })));
/// }
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping a line lets its route go"]
pub struct Line {
    // In this order: the route is let go, then the lease.
    hold: RouteHold,
    lease: Option<GsiLease>,
}

impl Line {
    pub(crate) fn leased(lease: GsiLease) -> Result<Self, Rejected<GsiLease>> {
        match RouteHold::new(lease.table(), lease.gsi()) {
            Ok(hold) => Ok(Self {
                hold,
                lease: Some(lease),
            }),
            Err(error) => Err(Rejected::new(error, lease)),
        }
    }

    pub(crate) fn registered(
        lease: GsiLease,
        armed: Weak<dyn Armed>,
    ) -> Result<(Self, Registration, bool), Rejected<GsiLease>> {
        let (table, gsi) = (lease.table(), lease.gsi());
        let mut state = table.lock_settled(gsi);
        let hold = match RouteHold::take(table, gsi, &mut state) {
            Ok(hold) => hold,
            Err(error) => {
                drop(state);
                return Err(Rejected::new(error, lease));
            }
        };
        let place = (gsi, Some(lease.id()));
        let (registration, blocked) = Registration::armed(table, place, armed, &mut state);
        drop(state);
        let lease = Some(lease);
        Ok((Self { hold, lease }, registration, blocked))
    }

    pub(crate) fn shared(table: &RoutingTable, gsi: Gsi) -> Result<Self, Error> {
        let mut state = table.lock_settled(gsi);
        if matches!(
            state.slots.get(gsi),
            Slot::Leased { .. } | Slot::Parked { .. } | Slot::Quarantined(_) | Slot::Unclaimed(_)
        ) {
            return Err(Error::GsiInUse { gsi });
        }
        Ok(Self {
            hold: RouteHold::take(table, gsi, &mut state)?,
            lease: None,
        })
    }

    /// Returns the GSI.
    #[inline]
    #[must_use]
    pub fn gsi(&self) -> Gsi {
        self.hold.gsi
    }

    /// Returns the table that it belongs to.
    #[inline]
    #[must_use]
    pub fn table(&self) -> &RoutingTable {
        &self.hold.table
    }

    /// Returns the lease, with which the route can be changed; `None` for wiring.
    #[must_use]
    pub fn lease(&self) -> Option<&GsiLease> {
        self.lease.as_ref()
    }

    /// Converts it back into its lease, whose route may be removed.
    ///
    /// # Errors
    ///
    /// A share of the wiring has no lease, and is returned unchanged.
    pub fn into_lease(mut self) -> Result<GsiLease, Self> {
        self.lease.take().ok_or(self)
    }

    /// Registers what is armed, so that it is disarmed before a blocked message loses its route.
    ///
    /// Returns the registration, and whether the message is blocked now: then nothing may be armed
    /// until [`Armed::rearm`] is called.
    ///
    /// Call this while holding the lock that [`Armed::disarm`] and [`Armed::rearm`] take. Otherwise
    /// another thread's commit may call them before the caller has stored whether the message is
    /// blocked.
    ///
    /// A table without a translation needs no registration. In a table with a translation each line
    /// needs one for everything that is armed on it. The route of a line without a registration is
    /// never removed: a commit that would block its message fails with [`Error::RouteHeld`].
    #[must_use = "dropping the registration ends it"]
    pub fn register(&self, armed: Weak<dyn Armed>) -> (Registration, bool) {
        let RouteHold { table, gsi } = &self.hold;
        let place = (*gsi, self.lease.as_ref().map(GsiLease::id));
        Registration::armed(table, place, armed, &mut table.lock())
    }

    /// Takes exclusive control of the line: its level and its EOIs; see [`DrivenLine`].
    ///
    /// Fails if another GSI is routed to one of its pins. It is queued with the commits, and waits
    /// for those before it. One ioctl if dropped leases left routes behind, which may be to these
    /// pins; otherwise none.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyDriven`], [`Error::PinShared`], and those of [`RoutingTable::flush`];
    /// [`Rejected`] contains the line.
    pub fn drive(self) -> Result<DrivenLine, Rejected<Self>> {
        DrivenLine::new(self)
    }

    /// Keeps the route in place as long as the table lives, even after this line is dropped.
    ///
    /// For something that could not be disarmed and may still signal the GSI. A leased GSI is never
    /// leased again, so that no other device gets those signals. A GSI of the wiring stays shared.
    pub fn quarantine(&self) {
        let mut state = self.table().lock();
        match &self.lease {
            Some(lease) => state.quarantine(lease.gsi()),
            None => {
                if let Some(lines) = state.slots.lines_mut(self.gsi()) {
                    *lines += 1;
                }
            }
        }
    }
}

/// One count of the route's holders.
#[derive(Debug)]
struct RouteHold {
    table: RoutingTable,
    gsi: Gsi,
}

impl RouteHold {
    fn new(table: &RoutingTable, gsi: Gsi) -> Result<Self, Error> {
        Self::take(table, gsi, &mut table.lock_settled(gsi))
    }

    fn take(table: &RoutingTable, gsi: Gsi, state: &mut State) -> Result<Self, Error> {
        let routed = state.slots.get(gsi).route().is_some();
        match state.slots.lines_mut(gsi).filter(|_| routed) {
            Some(lines) => *lines += 1,
            None => return Err(Error::NoRoute { gsi }),
        }
        Ok(Self {
            table: table.clone(),
            gsi,
        })
    }
}

impl Drop for RouteHold {
    fn drop(&mut self) {
        if let Some(lines) = self.table.lock().slots.lines_mut(self.gsi) {
            *lines -= 1;
        }
    }
}

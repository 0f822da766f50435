// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Restores a table from a snapshot, and gives the leases to their owners.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::saved::SavedGsi;
use super::{RestoreError, Snapshot, is_fit};
use crate::table::slots::Slot;
use crate::{Error, Gsi, GsiLease, Pins, Route, RoutingTable};

/// What a GSI of a snapshot is restored to.
enum Restored<'a> {
    Wired(Pins),
    Leased(Option<Route>, Option<&'a str>),
}

impl RoutingTable {
    /// Restores a snapshot into an empty table, with the same GSIs, in one commit.
    ///
    /// Owners then [`claim`](Self::claim) their leases. A table is empty if nothing was ever
    /// committed to it and nothing is leased; what it has started with is replaced by the
    /// snapshot's wiring.
    ///
    /// # Errors
    ///
    /// Everything in the snapshot is checked first. On failure the table is still empty, and the
    /// kernel's table has not changed.
    pub fn restore(&self, snapshot: &Snapshot) -> Result<(), RestoreError> {
        let gsis = self.check(snapshot)?;
        self.shared.start()?;
        let (leases, unwired) = self.lease_into_unused(&gsis)?;
        let mut transaction = self.transaction();
        for gsi in unwired {
            transaction.unwire(gsi);
        }
        for (gsi, restored) in &gsis {
            if let Restored::Wired(pins) = restored {
                transaction.wire(*gsi, *pins);
            }
        }
        for (lease, route) in &leases.leases {
            if let Some(route) = route {
                transaction.route(lease, *route);
            } else if lease.route().is_some() {
                transaction.unroute(lease); // from the pins of the start
            }
        }
        transaction.commit().map_err(Error::from)?;
        leases.leave_unclaimed();
        Ok(())
    }

    /// Returns the lease of a GSI that a restored snapshot had, with its route and name. No ioctl.
    ///
    /// # Errors
    ///
    /// [`Error::NothingToClaim`], [`Error::GsiOutOfRange`].
    pub fn claim(&self, number: u32) -> Result<GsiLease, Error> {
        let gsi = self.gsi(number)?;
        let id = self.lock().slots.claim(gsi)?;
        Ok(GsiLease::new(self.clone(), gsi, id))
    }

    /// Returns the restored GSIs that no owner has claimed yet.
    ///
    /// To free one, [`claim`](Self::claim) it and drop the lease.
    #[must_use]
    pub fn unclaimed(&self) -> Vec<Gsi> {
        let state = self.lock();
        let unclaimed = |(_, slot): &(Gsi, Slot)| matches!(slot, Slot::Unclaimed(_));
        let found = state.slots.iter().filter(unclaimed);
        found.map(|(gsi, _)| gsi).collect()
    }

    fn check<'a>(
        &self,
        snapshot: &'a Snapshot,
    ) -> Result<BTreeMap<Gsi, Restored<'a>>, RestoreError> {
        let known = snapshot.0.known();
        let snapshot = known.map_err(|found| RestoreError::Version { found })?;
        let (found, wanted) = (
            snapshot.platform.load(),
            self.shared.platform_to_start_with()?,
        );
        if found != wanted {
            return Err(RestoreError::Platform { found, wanted });
        }
        let mut gsis = BTreeMap::new();
        for saved in &snapshot.gsis {
            let gsi = self.gsi(saved.gsi)?;
            if gsis.insert(gsi, load(gsi, saved)?).is_some() {
                return Err(RestoreError::Duplicate { gsi });
            }
        }
        Ok(gsis)
    }

    /// Takes all leases or none, also of GSIs that the table's start has wired. Returns them, and
    /// the wired GSIs that the snapshot does not have.
    fn lease_into_unused(
        &self,
        gsis: &BTreeMap<Gsi, Restored<'_>>,
    ) -> Result<(Leases<'_>, Vec<Gsi>), RestoreError> {
        let mut leases = Leases::new(self, gsis.len());
        let mut state = self.lock();
        if !state.is_unused() {
            return Err(RestoreError::NotEmpty);
        }
        let is_left = |(gsi, slot): &(Gsi, Slot)| slot.route().is_some() && !gsis.contains_key(gsi);
        let left = state.slots.iter().filter(is_left);
        let unwired = left.map(|(gsi, _)| gsi).collect();
        for (gsi, restored) in gsis {
            let Restored::Leased(route, name) = restored else {
                continue;
            };
            let wired = state.slots.get(*gsi).route();
            let id = state.slots.take(*gsi, wired);
            if let Some(name) = name {
                state.slots.set_name(*gsi, Arc::from(*name));
            }
            leases.wired.extend(match wired {
                Some(Route::Pins(pins)) => Some((*gsi, pins)),
                _ => None,
            });
            let lease = GsiLease::new(self.clone(), *gsi, id);
            leases.leases.push((lease, *route));
        }
        Ok((leases, unwired))
    }
}

/// The leases of a restore. Dropping them restores the previous state.
struct Leases<'a> {
    table: &'a RoutingTable,
    leases: Vec<(GsiLease, Option<Route>)>,
    /// The pins of those that were wired. The kernel keeps these routes until the commit.
    wired: Vec<(Gsi, Pins)>,
}

impl<'a> Leases<'a> {
    fn new(table: &'a RoutingTable, capacity: usize) -> Self {
        Self {
            table,
            leases: Vec::with_capacity(capacity),
            wired: Vec::new(),
        }
    }

    fn leave_unclaimed(mut self) {
        self.wired.clear();
        for (lease, _) in self.leases.drain(..) {
            lease.leave_unclaimed();
        }
    }
}

impl Drop for Leases<'_> {
    fn drop(&mut self) {
        let mut state = self.table.lock();
        for (gsi, pins) in self.wired.drain(..) {
            state.slots.put(gsi, Slot::Wired { pins, lines: 0 });
        }
    }
}

fn load(gsi: Gsi, saved: &SavedGsi) -> Result<Restored<'_>, RestoreError> {
    let route = saved.route.as_ref().map(|route| route.load());
    let route = route
        .transpose()
        .map_err(|cause| RestoreError::Route { gsi, cause })?;
    let name = saved.name.as_deref();
    if !name.is_none_or(is_fit) {
        return Err(RestoreError::Name { gsi });
    }
    match (saved.wired, route) {
        (false, route) => Ok(Restored::Leased(route, name)),
        (true, Some(Route::Pins(pins))) => Ok(Restored::Wired(pins)),
        (true, _) => Err(RestoreError::NotPins { gsi }),
    }
}

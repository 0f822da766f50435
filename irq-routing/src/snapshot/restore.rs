// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! From a snapshot to a table, and from there to the owners.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::saved::SavedGsi;
use super::{RestoreError, Snapshot, is_fit};
use crate::slots::Slot;
use crate::{Error, Gsi, GsiLease, Pins, Route, RoutingTable};

/// What a GSI of a snapshot becomes.
enum Restored<'a> {
    Wired(Pins),
    Leased(Option<Route>, Option<&'a str>),
}

impl RoutingTable {
    /// Makes an empty table what another one was, with the same GSIs, in one commit. Owners then
    /// [`claim`](Self::claim) their leases. A table that was never committed is empty if it
    /// contains no more than what it has started with.
    ///
    /// # Errors
    ///
    /// Everything in the snapshot is checked before anything is done. On failure the table is empty
    /// still, and the kernel's as it was.
    pub fn restore(&self, snapshot: &Snapshot) -> Result<(), RestoreError> {
        let gsis = self.check(snapshot)?;
        self.shared.start()?;
        let start = self.lock().take_start();
        let restored = self.restore_into_empty(&gsis);
        if restored.is_err() {
            self.lock().put_back(&start);
        }
        restored
    }

    fn restore_into_empty(&self, gsis: &BTreeMap<Gsi, Restored<'_>>) -> Result<(), RestoreError> {
        // Should anything fail from here on, dropping the leases frees the GSIs.
        let leases = self.lease_into_empty(gsis)?;
        let mut transaction = self.transaction();
        for (gsi, restored) in gsis {
            if let Restored::Wired(pins) = restored {
                transaction.wire(*gsi, *pins);
            }
        }
        for (lease, route) in &leases {
            if let Some(route) = route {
                transaction.route(lease, *route);
            }
        }
        transaction.commit().map_err(Error::from)?;
        for (lease, _) in leases {
            lease.leave_unclaimed();
        }
        Ok(())
    }

    /// Takes a lease that a snapshot had, with its route. No ioctl.
    ///
    /// # Errors
    ///
    /// [`Error::NothingToClaim`], [`Error::GsiOutOfRange`].
    pub fn claim(&self, number: u32) -> Result<GsiLease, Error> {
        let gsi = self.gsi(number)?;
        let id = self.lock().slots.claim(gsi)?;
        Ok(GsiLease::new(self.clone(), gsi, id))
    }

    /// The GSIs that a snapshot had and nobody has claimed yet.
    #[must_use]
    pub fn unclaimed(&self) -> Vec<Gsi> {
        let state = self.lock();
        let unclaimed = |(_, slot): &(Gsi, Slot)| matches!(slot, Slot::Unclaimed(_));
        let found = state.slots.iter().filter(unclaimed);
        found.map(|(gsi, _)| gsi).collect()
    }

    /// Gives back every GSI that nobody has claimed, as dropping its lease would. No ioctl.
    pub fn drop_unclaimed(&self) {
        for gsi in self.unclaimed() {
            drop(self.claim(gsi.number()));
        }
    }

    fn check<'a>(
        &self,
        snapshot: &'a Snapshot,
    ) -> Result<BTreeMap<Gsi, Restored<'a>>, RestoreError> {
        let known = snapshot.0.known();
        let snapshot = known.map_err(|found| RestoreError::Version { found })?;
        let (found, wanted) = (snapshot.platform.load(), self.platform());
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

    /// Takes the leases, all or none.
    fn lease_into_empty(
        &self,
        gsis: &BTreeMap<Gsi, Restored<'_>>,
    ) -> Result<Vec<(GsiLease, Option<Route>)>, RestoreError> {
        let mut leases = Vec::with_capacity(gsis.len());
        let mut state = self.lock();
        if !state.slots.is_empty() {
            return Err(RestoreError::NotEmpty);
        }
        for (gsi, restored) in gsis {
            let Restored::Leased(route, name) = restored else {
                continue;
            };
            // Of an empty table none is in use.
            let Ok(id) = state.slots.lease_exact(*gsi) else {
                continue;
            };
            if let Some(name) = name {
                state.slots.set_name(*gsi, Arc::from(*name));
            }
            leases.push((GsiLease::new(self.clone(), *gsi, id), *route));
        }
        Ok(leases)
    }
}

fn load(gsi: Gsi, saved: &SavedGsi) -> Result<Restored<'_>, RestoreError> {
    let route = saved.route.as_ref().map(|route| route.load());
    let route = route
        .transpose()
        .map_err(|source| RestoreError::Route { gsi, source })?;
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

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Slots`]: the use and the route of each GSI.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fixedbitset::FixedBitSet;

use crate::{Error, Gsi, Holder, Pins, Route};

/// What a GSI is used for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Slot {
    /// Not in use.
    #[default]
    Free,
    /// A lease holds it.
    Leased {
        id: LeaseId,
        route: Option<Route>,
        /// How many [`Line`](crate::Line)s keep the route in place.
        lines: u32,
        /// The greatest number of the message edits that were in a round.
        edit: u64,
    },
    /// Its lease is parked: the holder may unpark it, unless the GSI is needed before.
    Parked {
        id: LeaseId,
        route: Option<Route>,
        /// As in `Leased`.
        edit: u64,
        /// The number of the parking.
        since: u64,
    },
    /// It belongs to the VM's wiring, and all devices share it.
    Wired { pins: Pins, lines: u32 },
    /// Out of use: something that could not be disarmed may signal it.
    Quarantined(Option<Route>),
    /// Restored from a snapshot, and not yet claimed by its owner.
    Unclaimed(Option<Route>),
}

impl Slot {
    pub(crate) fn route(&self) -> Option<Route> {
        match *self {
            Self::Free => None,
            Self::Leased { route, .. }
            | Self::Parked { route, .. }
            | Self::Quarantined(route)
            | Self::Unclaimed(route) => route,
            Self::Wired { pins, .. } => Some(Route::Pins(pins)),
        }
    }

    /// The lease under which it is held or parked.
    pub(crate) fn lease(&self) -> Option<LeaseId> {
        match *self {
            Self::Leased { id, .. } | Self::Parked { id, .. } => Some(id),
            _ => None,
        }
    }

    pub(crate) fn lines(&self) -> u32 {
        match *self {
            Self::Free | Self::Parked { .. } | Self::Quarantined(_) | Self::Unclaimed(_) => 0,
            Self::Leased { lines, .. } | Self::Wired { lines, .. } => lines,
        }
    }

    pub(crate) fn lines_mut(&mut self) -> Option<&mut u32> {
        match self {
            Self::Free | Self::Parked { .. } | Self::Quarantined(_) | Self::Unclaimed(_) => None,
            Self::Leased { lines, .. } | Self::Wired { lines, .. } => Some(lines),
        }
    }
}

/// The identity of a lease: unique among all leases of all tables, and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeaseId(NonZeroU64);

impl LeaseId {
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // 2^64 leases, at a thousand million a second, take five hundred years.
        Self(NonZeroU64::new(number).unwrap_or(NonZeroU64::MAX))
    }
}

/// The order in which leases were parked.
#[derive(Debug, Default)]
pub(crate) struct Parkings {
    /// In order. Parkings that have ended stay for a while.
    pub(super) queue: VecDeque<(u64, Gsi)>,
    /// How many leases are parked.
    pub(crate) count: usize,
    pub(super) last: u64,
}

/// All GSIs of a VM.
#[derive(Debug)]
pub(crate) struct Slots {
    limit: u32,
    /// Up to the highest GSI ever used; those above are free.
    slots: Vec<Slot>,
    /// The GSIs that [`State::lease`](crate::table::state::State::lease) may give: free, and not
    /// reserved.
    pub(crate) available: FixedBitSet,
    /// The GSIs that a commit under way changes.
    pub(crate) unsettled: FixedBitSet,
    /// The names of the holders of leases, if they gave one.
    names: BTreeMap<Gsi, Arc<str>>,
    pub(crate) parkings: Parkings,
    reserved: u32,
    leased: usize,
}

impl Slots {
    pub(crate) fn new(limit: u32, reserved: u32) -> Self {
        let mut available = FixedBitSet::with_capacity(limit as usize);
        available.insert_range(reserved.min(limit) as usize..);
        Self {
            limit,
            // Untouched memory costs nothing; moving it as it grows does.
            slots: Vec::with_capacity(limit as usize),
            available,
            unsettled: FixedBitSet::with_capacity(limit as usize),
            names: BTreeMap::new(),
            parkings: Parkings::default(),
            reserved,
            leased: 0,
        }
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    pub(crate) fn reserved(&self) -> u32 {
        self.reserved
    }

    pub(crate) fn leased(&self) -> usize {
        self.leased
    }

    pub(crate) fn get(&self, gsi: Gsi) -> Slot {
        self.slots.get(gsi.index()).copied().unwrap_or_default()
    }

    /// What each GSI is used for, in their order; those at the end that are free may be left out.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Gsi, Slot)> + '_ {
        let numbered = (0..self.limit).zip(&self.slots);
        numbered.filter_map(|(number, slot)| Some((Gsi::below(self.limit, number)?, *slot)))
    }

    /// All routes, in the order of their GSIs.
    pub(crate) fn routes(&self) -> impl Iterator<Item = (Gsi, Route)> + '_ {
        self.iter()
            .filter_map(|(gsi, slot)| Some((gsi, slot.route()?)))
    }

    /// The name of the holder of a lease.
    pub(crate) fn name(&self, gsi: Gsi) -> Option<&Arc<str>> {
        self.names.get(&gsi)
    }

    pub(crate) fn set_name(&mut self, gsi: Gsi, name: Arc<str>) {
        self.names.insert(gsi, name);
    }

    /// The error for too few free GSIs, with the names of the holders of the others.
    pub(crate) fn exhausted(&self, wanted: u32) -> Error {
        let mut holders: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        // A GSI that is parked, quarantined or unclaimed keeps its name, but is not held.
        let held = |gsi: Gsi| matches!(self.get(gsi), Slot::Leased { .. });
        for (_, name) in self.names.iter().filter(|(gsi, _)| held(**gsi)) {
            *holders.entry(name).or_default() += 1;
        }
        let holder = |(name, leases): (&Arc<str>, usize)| Holder {
            name: Arc::clone(name),
            leases,
        };
        let mut holders: Vec<Holder> = holders.into_iter().map(holder).collect();
        holders.sort_by_key(|holder| Reverse(holder.leases));
        Error::Exhausted {
            wanted,
            leased: self.leased,
            limit: self.limit,
            holders,
        }
    }

    pub(crate) fn gsi(&self, index: usize) -> Option<Gsi> {
        let number = u32::try_from(index).ok()?;
        Gsi::below(self.limit, number)
    }

    /// Whether a commit under way changes this GSI. Until that has ended, it must not be leased
    /// again, and no route of it be relied on.
    pub(crate) fn is_unsettled(&self, gsi: Gsi) -> bool {
        self.unsettled.contains(gsi.index())
    }

    /// Whether a commit under way keeps a GSI from being leased.
    pub(crate) fn may_become_free(&self) -> bool {
        !self.available.is_disjoint(&self.unsettled) || self.may_be_taken_back()
    }

    pub(crate) fn unsettle(&mut self, gsi: Gsi) {
        self.unsettled.insert(gsi.index());
    }

    /// The commit has ended.
    pub(crate) fn settle(&mut self) {
        self.unsettled.clear();
    }

    /// Replaces the slot of a GSI.
    pub(crate) fn put(&mut self, gsi: Gsi, slot: Slot) {
        let index = gsi.index();
        if index >= self.slots.len() {
            self.slots.resize(index + 1, Slot::Free);
        }
        let Some(place) = self.slots.get_mut(index) else {
            return;
        };
        let old = std::mem::replace(place, slot);
        self.leased -= usize::from(matches!(old, Slot::Leased { .. }));
        self.leased += usize::from(matches!(slot, Slot::Leased { .. }));
        self.parkings.count -= usize::from(matches!(old, Slot::Parked { .. }));
        self.parkings.count += usize::from(matches!(slot, Slot::Parked { .. }));
        if matches!(slot, Slot::Free) {
            self.names.remove(&gsi);
        }
        let available = matches!(slot, Slot::Free) && gsi.number() >= self.reserved;
        if index < self.available.len() {
            self.available.set(index, available);
        }
    }

    /// Records that the message edit of this number is in a round.
    pub(crate) fn note_edit(&mut self, gsi: Gsi, number: u64) {
        let slot = self.slots.get_mut(gsi.index());
        if let Some(Slot::Leased { edit, .. } | Slot::Parked { edit, .. }) = slot {
            *edit = number.max(*edit);
        }
    }

    /// Whether a message edit is the last staged of those that were in a round. An edit that has
    /// failed may be committed again.
    pub(crate) fn is_newest(&self, gsi: Gsi, number: u64) -> bool {
        match self.get(gsi) {
            Slot::Leased { edit, .. } | Slot::Parked { edit, .. } => edit == number,
            _ => false,
        }
    }

    /// Changes how many lines keep the route of a GSI in place.
    pub(crate) fn lines_mut(&mut self, gsi: Gsi) -> Option<&mut u32> {
        self.slots.get_mut(gsi.index()).and_then(Slot::lines_mut)
    }
}

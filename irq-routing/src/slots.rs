// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Slots`]: who has which GSI, and where it leads.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fixedbitset::FixedBitSet;

use crate::{Error, Gsi, Holder, Pins, Route};

/// What a GSI is used for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Slot {
    /// Nothing.
    #[default]
    Free,
    /// A lease has it.
    Leased {
        id: LeaseId,
        route: Option<Route>,
        /// How many [`Line`](crate::Line)s keep the route in place.
        lines: u32,
        /// The greatest number of a message edit that a round has met.
        edit: u64,
    },
    /// It belongs to the machine's own wiring, and to all devices together.
    Wired { pins: Pins, lines: u32 },
    /// Nobody any more: something that could not be disarmed may signal it.
    Quarantined(Option<Route>),
    /// Nobody yet: a snapshot had it, and its owner has not come for it.
    Unclaimed(Option<Route>),
}

impl Slot {
    pub(crate) fn route(&self) -> Option<Route> {
        match *self {
            Self::Free => None,
            Self::Leased { route, .. } | Self::Quarantined(route) | Self::Unclaimed(route) => route,
            Self::Wired { pins, .. } => Some(Route::Pins(pins)),
        }
    }

    /// Under which it is held.
    pub(crate) fn lease(&self) -> Option<LeaseId> {
        match *self {
            Self::Leased { id, .. } => Some(id),
            _ => None,
        }
    }

    pub(crate) fn lines(&self) -> u32 {
        match *self {
            Self::Free | Self::Quarantined(_) | Self::Unclaimed(_) => 0,
            Self::Leased { lines, .. } | Self::Wired { lines, .. } => lines,
        }
    }

    pub(crate) fn lines_mut(&mut self) -> Option<&mut u32> {
        match self {
            Self::Free | Self::Quarantined(_) | Self::Unclaimed(_) => None,
            Self::Leased { lines, .. } | Self::Wired { lines, .. } => Some(lines),
        }
    }
}

/// Tells one lease from every other, of any GSI in any table, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeaseId(NonZeroU64);

impl LeaseId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // 2^64 leases, at a thousand million a second, take five hundred years.
        Self(NonZeroU64::new(number).unwrap_or(NonZeroU64::MAX))
    }
}

/// All GSIs of a machine.
#[derive(Debug)]
pub(crate) struct Slots {
    limit: u32,
    /// Up to the highest GSI ever used; those above are free.
    slots: Vec<Slot>,
    /// The GSIs that [`lease`](Self::lease) may give: free, and not reserved.
    available: FixedBitSet,
    /// The GSIs that a commit under way changes.
    unsettled: FixedBitSet,
    /// What the holders of leases are called, if they gave a name.
    names: BTreeMap<Gsi, Arc<str>>,
    reserved: u32,
    leased: usize,
}

impl Slots {
    pub(crate) fn new(limit: u32, reserved: u32) -> Self {
        let mut available = FixedBitSet::with_capacity(limit as usize);
        available.insert_range(reserved.min(limit) as usize..);
        Self {
            limit,
            // Memory that nobody has touched costs nothing; to move it as it grows does.
            slots: Vec::with_capacity(limit as usize),
            available,
            unsettled: FixedBitSet::with_capacity(limit as usize),
            names: BTreeMap::new(),
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

    /// The lowest GSI that is free and not reserved.
    pub(crate) fn lease(&mut self) -> Option<(Gsi, LeaseId)> {
        let lowest = self.available.difference(&self.unsettled).next()?;
        let gsi = self.gsi(lowest)?;
        Some((gsi, self.take(gsi, None)))
    }

    /// So many GSIs in a row; see [`RoutingTable::lease_block`](crate::RoutingTable::lease_block).
    pub(crate) fn lease_block(&mut self, count: u32) -> Option<Vec<(Gsi, LeaseId)>> {
        let align = count.checked_next_power_of_two()?;
        let (count_there, limit) = (count as usize, self.limit as usize);
        let mut blocks = (0..limit)
            .step_by(align as usize)
            .map(|first| first..first + count_there);
        let free = |block: &Range<usize>| {
            block.end <= limit
                && self.available.contains_all_in_range(block.clone())
                && !self.unsettled.contains_any_in_range(block.clone())
        };
        let block = blocks.find(free)?;
        let gsis: Vec<Gsi> = block.filter_map(|index| self.gsi(index)).collect();
        let take = |gsi: Gsi| (gsi, self.take(gsi, None));
        Some(gsis.into_iter().map(take).collect())
    }

    /// This GSI, reserved or not, if it is free.
    pub(crate) fn lease_exact(&mut self, gsi: Gsi) -> Result<LeaseId, Error> {
        match self.get(gsi) {
            Slot::Free => Ok(self.take(gsi, None)),
            _ => Err(Error::GsiInUse { gsi }),
        }
    }

    /// This GSI, if a snapshot had it and nobody has come for it yet.
    pub(crate) fn claim(&mut self, gsi: Gsi) -> Result<LeaseId, Error> {
        match self.get(gsi) {
            Slot::Unclaimed(route) => Ok(self.take(gsi, route)),
            _ => Err(Error::NothingToClaim { gsi }),
        }
    }

    /// What the holder of a lease is called.
    pub(crate) fn name(&self, gsi: Gsi) -> Option<&Arc<str>> {
        self.names.get(&gsi)
    }

    pub(crate) fn set_name(&mut self, gsi: Gsi, name: Arc<str>) {
        self.names.insert(gsi, name);
    }

    /// Whether nothing is used for anything.
    pub(crate) fn is_empty(&self) -> bool {
        let free = |(_, slot)| matches!(slot, Slot::Free);
        self.iter().all(free) && self.unsettled.is_clear()
    }

    /// Why so many GSIs cannot be leased, with the names of those who hold the others.
    pub(crate) fn exhausted(&self, wanted: u32) -> Error {
        let mut holders: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        // One in quarantine, or that nobody has claimed, has kept its name and is held by nobody.
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

    /// Whether a commit under way changes this GSI. It must not become another's, or be relied on,
    /// until that has ended.
    pub(crate) fn is_unsettled(&self, gsi: Gsi) -> bool {
        self.unsettled.contains(gsi.index())
    }

    /// Whether a commit under way keeps a GSI from being leased.
    pub(crate) fn may_become_free(&self) -> bool {
        !self.available.is_disjoint(&self.unsettled)
    }

    pub(crate) fn unsettle(&mut self, gsi: Gsi) {
        self.unsettled.insert(gsi.index());
    }

    /// The commit has ended.
    pub(crate) fn settle(&mut self) {
        self.unsettled.clear();
    }

    fn take(&mut self, gsi: Gsi, route: Option<Route>) -> LeaseId {
        let id = LeaseId::next();
        self.put(
            gsi,
            Slot::Leased {
                id,
                route,
                lines: 0,
                edit: 0,
            },
        );
        id
    }

    /// Puts something else into the slot of a GSI.
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
        if matches!(slot, Slot::Free) {
            self.names.remove(&gsi);
        }
        let available = matches!(slot, Slot::Free) && gsi.number() >= self.reserved;
        if index < self.available.len() {
            self.available.set(index, available);
        }
    }

    /// Notes that a round has met the message edit of this number.
    pub(crate) fn meet(&mut self, gsi: Gsi, number: u64) {
        if let Some(Slot::Leased { edit, .. }) = self.slots.get_mut(gsi.index()) {
            *edit = number.max(*edit);
        }
    }

    /// Whether a message edit is the last that was staged, of those that rounds have met. One that
    /// has failed may come again.
    pub(crate) fn is_newest(&self, gsi: Gsi, number: u64) -> bool {
        matches!(self.get(gsi), Slot::Leased { edit, .. } if edit == number)
    }

    /// Changes how many lines keep the route of a GSI in place.
    pub(crate) fn lines_mut(&mut self, gsi: Gsi) -> Option<&mut u32> {
        self.slots.get_mut(gsi.index()).and_then(Slot::lines_mut)
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which GSI a new lease gets: one that is free, or else that of a parked lease.

use std::ops::Range;

use fixedbitset::FixedBitSet;

use crate::slots::{LeaseId, Slot, Slots};
use crate::state::State;
use crate::{Error, Gsi, Route};

impl State {
    /// The lowest GSI that is free and not reserved, or else that of the longest parked lease.
    pub(crate) fn lease(&mut self) -> Option<(Gsi, LeaseId)> {
        if let Some(lease) = self.slots.lease() {
            return Some(lease);
        }
        let reserved = self.slots.reserved();
        let mut parked = self.slots.settled_parked();
        let longest = parked.find(|gsi| gsi.number() >= reserved)?;
        drop(parked);
        self.take_back(longest);
        self.slots.lease()
    }

    /// So many GSIs in a row that are free, or else free or parked; see
    /// [`RoutingTable::lease_block`](crate::RoutingTable::lease_block).
    pub(crate) fn lease_block(&mut self, count: u32) -> Option<Vec<(Gsi, LeaseId)>> {
        if let Some(block) = self.slots.lease_block(count) {
            return Some(block);
        }
        let parked = self.slots.settled_parked().map(Gsi::index);
        let block = self.slots.block_with(count, parked)?;
        for index in block {
            if let Some(gsi) = self.slots.gsi(index) {
                self.take_back(gsi);
            }
        }
        self.slots.lease_block(count)
    }

    /// This GSI, reserved or not, if it is free or parked.
    pub(crate) fn lease_exact(&mut self, gsi: Gsi) -> Result<LeaseId, Error> {
        self.take_back(gsi);
        self.slots.lease_exact(gsi)
    }
}

impl Slots {
    /// The lowest GSI that is free and not reserved.
    fn lease(&mut self) -> Option<(Gsi, LeaseId)> {
        let lowest = self.available.difference(&self.unsettled).next()?;
        let gsi = self.gsi(lowest)?;
        Some((gsi, self.take(gsi, None)))
    }

    /// So many GSIs in a row; see [`RoutingTable::lease_block`](crate::RoutingTable::lease_block).
    fn lease_block(&mut self, count: u32) -> Option<Vec<(Gsi, LeaseId)>> {
        let block = self.block_of(count, &self.available)?;
        let gsis: Vec<Gsi> = block.filter_map(|index| self.gsi(index)).collect();
        let take = |gsi: Gsi| (gsi, self.take(gsi, None));
        Some(gsis.into_iter().map(take).collect())
    }

    /// Where there are so many in a row, if these were free, too.
    fn block_with(&self, count: u32, others: impl Iterator<Item = usize>) -> Option<Range<usize>> {
        let mut available = self.available.clone();
        available.extend(others.filter(|index| *index >= self.reserved() as usize));
        self.block_of(count, &available)
    }

    fn block_of(&self, count: u32, available: &FixedBitSet) -> Option<Range<usize>> {
        let align = count.checked_next_power_of_two()?;
        let (count, limit) = (count as usize, self.limit() as usize);
        let mut blocks = (0..limit)
            .step_by(align as usize)
            .map(|first| first..first + count);
        blocks.find(|block| {
            block.end <= limit
                && available.contains_all_in_range(block.clone())
                && !self.unsettled.contains_any_in_range(block.clone())
        })
    }

    /// This GSI, reserved or not, if it is free.
    pub(crate) fn lease_exact(&mut self, gsi: Gsi) -> Result<LeaseId, Error> {
        match self.get(gsi) {
            Slot::Free => Ok(self.take(gsi, None)),
            _ => Err(Error::GsiInUse { gsi }),
        }
    }

    /// This GSI, if a snapshot had it and its owner has not claimed it yet.
    pub(crate) fn claim(&mut self, gsi: Gsi) -> Result<LeaseId, Error> {
        match self.get(gsi) {
            Slot::Unclaimed(route) => Ok(self.take(gsi, route)),
            _ => Err(Error::NothingToClaim { gsi }),
        }
    }

    /// Takes this GSI, whatever it is used for, with this route.
    pub(crate) fn take(&mut self, gsi: Gsi, route: Option<Route>) -> LeaseId {
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
}

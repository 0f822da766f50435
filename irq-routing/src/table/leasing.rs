// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which GSI a new lease gets: one that is free, or else that of a parked lease.

use std::ops::Range;

use fixedbitset::FixedBitSet;

use crate::table::slots::{LeaseId, Slot, Slots};
use crate::table::state::State;
use crate::{Error, Gsi, GsiLease, MsiMessage, Route, RoutingTable};

impl RoutingTable {
    /// Leases the lowest GSI that is free and not reserved. No ioctl.
    ///
    /// If none is free, takes back the lease that has been parked longest ([`GsiLease::park`]). The
    /// GSI has no route yet. Waits for a commit under way only if no GSI is free or parked except
    /// those that it changes.
    ///
    /// # Errors
    ///
    /// [`Error::Exhausted`].
    pub fn lease(&self) -> Result<GsiLease, Error> {
        self.lease_if_free()
            .map_err(|_| self.lock().slots.exhausted(1))
    }

    /// Leases a GSI like [`lease`](Self::lease), but the error does not list the holders.
    ///
    /// Collecting them takes time when there are thousands of leases.
    ///
    /// # Errors
    ///
    /// [`Error::Exhausted`].
    pub fn lease_if_free(&self) -> Result<GsiLease, Error> {
        match self.take(State::lease) {
            Some((gsi, id)) => Ok(GsiLease::new(self.clone(), gsi, id)),
            None => Err(Error::Exhausted {
                wanted: 1,
                leased: self.leased(),
                limit: self.limit(),
                holders: Vec::new(),
            }),
        }
    }

    /// Leases the GSI of this number, reserved or not, as a restored device does. No ioctl.
    ///
    /// It takes the GSI from a parked lease too. A GSI that is wired to pins cannot be leased; use
    /// [`line`](Self::line) for it. Waits for a commit under way that changes the GSI.
    ///
    /// # Errors
    ///
    /// [`Error::GsiInUse`], [`Error::GsiOutOfRange`].
    pub fn lease_exact(&self, number: u32) -> Result<GsiLease, Error> {
        let gsi = self.gsi(number)?;
        let id = self.lock_settled(gsi).lease_exact(gsi)?;
        Ok(GsiLease::new(self.clone(), gsi, id))
    }

    /// Leases `count` consecutive GSIs, aligned to `count` rounded up to a power of two. No ioctl.
    ///
    /// It takes the lowest that are free and not reserved. If there are none, it takes the lowest
    /// that are free or parked, and takes back the parked leases among them.
    ///
    /// # Errors
    ///
    /// [`Error::Exhausted`]; then no GSI is leased.
    pub fn lease_block(&self, count: u32) -> Result<Vec<GsiLease>, Error> {
        let block = self.take(|state| state.lease_block(count));
        let block = block.ok_or_else(|| self.lock().slots.exhausted(count))?;
        let lease = |(gsi, id)| GsiLease::new(self.clone(), gsi, id);
        Ok(block.into_iter().map(lease).collect())
    }

    /// Leases a GSI and routes it to a message, with one ioctl.
    ///
    /// For a device with many vectors use [`lease`](Self::lease) for each, and one transaction for
    /// all.
    ///
    /// # Errors
    ///
    /// Those of [`lease`](Self::lease) and [`Transaction::commit`](crate::Transaction::commit).
    pub fn lease_msi(&self, message: MsiMessage) -> Result<GsiLease, Error> {
        let lease = self.lease()?;
        lease.set_route(message)?;
        Ok(lease)
    }

    /// Takes GSIs that are free or parked. If a commit under way changes some of them, waits for
    /// its end before it fails.
    fn take<T>(&self, take: impl Fn(&mut State) -> Option<T>) -> Option<T> {
        let mut state = self.lock();
        loop {
            match take(&mut state) {
                None if state.slots.may_become_free() => state = self.shared.ended.wait(state),
                taken => return taken,
            }
        }
    }
}

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

    /// A range of `count` GSIs that are free, or among `others`.
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

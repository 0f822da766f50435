// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Operations without ioctls, on the [`Model`].

use std::collections::{BTreeMap, BTreeSet};

use super::armed::Registered;
use super::model::{Action, Expected, Model, Saved, Slot, Use};
use super::why::Why;

impl Model {
    fn exhausted(&self, wanted: u32) -> Why {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for name in self.leased().filter_map(|(_, slot)| slot.name) {
            *counts.entry(name).or_default() += 1;
        }
        let mut holders: Vec<(String, usize)> = Vec::new();
        for count in (1..=self.slots.len()).rev() {
            let with = counts.iter().filter(|(_, leases)| **leases == count);
            holders.extend(with.map(|(name, leases)| ((*name).to_owned(), *leases)));
        }
        Why::Exhausted {
            wanted,
            leased: self.leased().count(),
            holders,
        }
    }

    /// Parked GSIs that can be leased once they are reclaimed.
    fn takable(&self) -> impl Iterator<Item = u32> + Clone + '_ {
        let parked = self.parked.iter().copied();
        parked.filter(|gsi| *gsi >= self.reserved)
    }

    /// The GSIs that a new lease may get: free ones, or else parked ones, the first of which it
    /// takes.
    fn place(&self, count: Option<u32>) -> Result<Vec<u32>, Why> {
        let number = count.unwrap_or(1);
        let free = self.block(number, std::iter::empty());
        free.or_else(|why| match count {
            Some(count) => self.block(count, self.takable()),
            None => {
                let mut parked = self.takable();
                let first = parked.find(|gsi| !self.unsettled.contains(gsi));
                first.map(|gsi| vec![gsi]).ok_or(why)
            }
        })
    }

    /// The lowest aligned block of so many GSIs that are free or among these.
    fn block(&self, count: u32, with: impl Iterator<Item = u32>) -> Result<Vec<u32>, Why> {
        let mut align = 1;
        while align < count {
            align *= 2;
        }
        let free: BTreeSet<u32> = self.free().chain(with).collect();
        let free = &free - &self.unsettled;
        let begins = (0..self.limit).filter(|first| first % align == 0);
        let mut blocks = begins.map(|first| first..first + count);
        let block = blocks.find(|block| block.clone().all(|gsi| free.contains(&gsi)));
        block.map(Vec::from_iter).ok_or(self.exhausted(count))
    }

    /// Whether it waits for a request in progress.
    pub(super) fn waits(&self, action: Action) -> bool {
        let count = match action {
            Action::Lease { .. } => None,
            Action::Block { count, .. } => Some(count),
            Action::Exact { gsi, .. } | Action::IntoLine { gsi } | Action::Share { gsi } => {
                return self.unsettled.contains(&gsi);
            }
            _ => return false,
        };
        let mut all = self.free().chain(self.takable());
        all.any(|gsi| self.unsettled.contains(&gsi)) && self.place(count).is_err()
    }

    fn lease(&mut self, gsis: Result<Vec<u32>, Why>, keys: u64) -> Expected {
        for (gsi, key) in gsis.iter().flatten().zip(keys..) {
            if let Use::Parked(_) = self.slot(*gsi).of {
                self.give_back(*gsi);
            }
            let slot = self.slot_mut(*gsi);
            slot.of = Use::Leased(key);
            slot.lines = 0;
        }
        Expected::Leases(gsis)
    }

    fn line(&mut self, gsi: u32) -> Expected {
        let slot = self.slot_mut(gsi);
        if slot.route.is_none() {
            return Expected::Line(Err(Why::NoRoute(gsi)));
        }
        slot.lines += 1;
        Expected::Line(Ok(gsi))
    }

    pub(super) fn act(&mut self, action: Action) -> Expected {
        match action {
            Action::Lease { key } => self.lease(self.place(None), key),
            Action::Block { count, key } => self.lease(self.place(Some(count)), key),
            Action::Exact { gsi, .. } if gsi >= self.limit => {
                Expected::Leases(Err(Why::OutOfRange(gsi)))
            }
            Action::Exact { gsi, key } => match self.slot(gsi).of {
                Use::Free | Use::Parked(_) => self.lease(Ok(vec![gsi]), key),
                _ => Expected::Leases(Err(Why::InUse(gsi))),
            },
            Action::Claim { gsi, .. } if gsi >= self.limit => {
                Expected::Leases(Err(Why::OutOfRange(gsi)))
            }
            Action::Claim { gsi, key } => match self.slot(gsi).of {
                Use::Unclaimed => self.lease(Ok(vec![gsi]), key),
                _ => Expected::Leases(Err(Why::NothingToClaim(gsi))),
            },
            Action::Name { gsi, name } => {
                self.slot_mut(gsi).name = Some(name);
                Expected::Lease(Ok(gsi))
            }
            Action::Drop { gsi } => {
                self.give_back(gsi);
                Expected::Nothing
            }
            Action::Undrive { gsi } => {
                self.driven.remove(&gsi);
                Expected::Line(Ok(gsi))
            }
            Action::DropLine { gsi } | Action::DropDriven { gsi } => {
                if matches!(action, Action::DropDriven { .. }) {
                    self.driven.remove(&gsi);
                }
                let slot = self.slot_mut(gsi);
                slot.lines -= 1;
                if slot.of != Use::Wired {
                    self.registered.remove(&gsi);
                    self.give_back(gsi);
                }
                Expected::Nothing
            }
            Action::Share { gsi } if gsi >= self.limit => Expected::Line(Err(Why::OutOfRange(gsi))),
            Action::Share { gsi } => match self.slot(gsi).of {
                Use::Free | Use::Wired => self.line(gsi),
                _ => Expected::Line(Err(Why::InUse(gsi))),
            },
            Action::IntoLine { gsi } => self.line(gsi),
            Action::IntoLease { gsi } => {
                let slot = self.slot_mut(gsi);
                if slot.of == Use::Wired {
                    return Expected::Lease(Err(gsi));
                }
                slot.lines -= 1;
                self.registered.remove(&gsi);
                Expected::Lease(Ok(gsi))
            }
            Action::Quarantine { gsi } => {
                let slot = self.slot_mut(gsi);
                if slot.of != Use::Wired {
                    (slot.of, slot.lines) = (Use::Quarantined, 0);
                    self.registered.remove(&gsi);
                }
                Expected::Nothing
            }
            Action::Register { gsi, manner } => {
                let blocked = self.blocked.contains(&gsi);
                let armed = !blocked;
                self.registered.insert(gsi, Registered { armed, manner });
                Expected::Registered(gsi, blocked)
            }
            Action::DropUnclaimed => {
                for gsi in self.seen().unclaimed {
                    self.give_back(gsi);
                }
                Expected::Nothing
            }
            Action::Look => Expected::Seen(self.seen()),
            Action::Snapshot => Expected::Snapshot(self.saved()),
            Action::Park { gsi } => {
                if let Use::Leased(key) = self.slot(gsi).of {
                    self.slot_mut(gsi).of = Use::Parked(key);
                    self.parked.push(gsi);
                }
                Expected::Nothing
            }
            Action::Unpark { gsi, key } => {
                let is_there = self.slot(gsi).of == Use::Parked(key);
                if is_there {
                    self.slot_mut(gsi).of = Use::Leased(key);
                    self.parked.retain(|parked| *parked != gsi);
                }
                Expected::Unparked(is_there)
            }
            Action::DropParked { gsi, key } => {
                if self.slot(gsi).of == Use::Parked(key) {
                    self.give_back(gsi);
                }
                Expected::Nothing
            }
        }
    }

    /// Takes the leases of a snapshot, if it can be restored.
    pub(super) fn begin_restore(&mut self, saved: &Saved) -> Result<(), Why> {
        if let Some(gsi) = saved.keys().find(|gsi| **gsi >= self.limit) {
            return Err(Why::OutOfRange(*gsi));
        }
        if !self.is_empty() {
            return Err(Why::NotEmpty);
        }
        for (gsi, (wired, _, name)) in saved {
            if !wired {
                let slot = self.slot_mut(*gsi);
                (slot.of, slot.name) = (Use::Leased(u64::from(*gsi)), *name);
            }
        }
        Ok(())
    }

    /// Leaves restored leases to their owners, or returns them.
    pub(super) fn end_restore(&mut self, restored: bool) {
        for slot in &mut self.slots {
            match (slot.of, restored) {
                (Use::Leased(_), true) => slot.of = Use::Unclaimed,
                (Use::Leased(_), false) => *slot = Slot::default(),
                _ => {}
            }
        }
    }
}

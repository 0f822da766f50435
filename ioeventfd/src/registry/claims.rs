// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Claims`]: which set owns which place on a VM's buses.

use std::sync::atomic::{AtomicU64, Ordering};

use super::neighbours::{Look, Map, clash, refuse};
use crate::bus::Place;
use crate::{Conflict, Error, Window};

/// A set, unique among all registries, so that a plan is valid for one set only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SetId(u64);

impl SetId {
    /// No set: the place of a quarantined doorbell.
    const QUARANTINE: Self = Self(0);

    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The places of all sets. Two places of one set may conflict only during a change from the one to
/// the other.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    held: Map,
    /// Given up by a change in progress. They go back to the set if the change fails; no other set
    /// may take them.
    leaving: Map,
    windows: Vec<Window>,
    /// How many of the places belong to quarantined doorbells.
    quarantined: usize,
    /// Increases with each change of the other fields: a check of the same version still holds.
    version: u64,
}

/// Places that were found to be free, and the version of the claims at that time.
#[derive(Debug)]
pub(crate) struct Checked {
    version: u64,
    places: Map,
}

/// Whether quarantined doorbells count as conflicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quarantined {
    /// They do.
    Stay,
    /// They do not: a change deregisters them first, or fails.
    Go,
}

impl Claims {
    pub(crate) fn new(windows: &[Window]) -> Self {
        Self {
            windows: windows.to_vec(),
            ..Self::default()
        }
    }

    pub(crate) fn reserve(&mut self, window: Window) -> Result<(), Error> {
        if let Some(place) = self.all().find(|place| window.covers(*place)) {
            return Err(refuse(place, Conflict::Device(window)));
        }
        self.version += 1;
        self.windows.push(window);
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = Place> {
        self.held.keys().chain(self.leaving.keys()).copied()
    }

    /// Checks whether a set can have these places once it has given up `given_up` (sorted) and the
    /// quarantine is empty. `None`: it can, but must check again once the quarantine is empty.
    pub(crate) fn check(
        &self,
        set: SetId,
        wanted: impl Iterator<Item = Place>,
        given_up: &[Place],
    ) -> Result<Option<Checked>, Error> {
        let places = self.check_all(set, wanted, given_up, Quarantined::Go)?;
        Ok((self.quarantined == 0).then_some(Checked {
            version: self.version,
            places,
        }))
    }

    fn check_all(
        &self,
        set: SetId,
        wanted: impl Iterator<Item = Place>,
        given_up: &[Place],
        quarantined: Quarantined,
    ) -> Result<Map, Error> {
        let goes = |there: Place, of: SetId| {
            (of == set && given_up.binary_search(&there).is_ok())
                || (of == SetId::QUARANTINE && quarantined == Quarantined::Go)
        };
        self.check_beside(set, wanted, goes)
    }

    /// Returns the places, sorted, if nothing that stays conflicts with them.
    ///
    /// Many doorbells with a value may share an address, while as many others leave an address a
    /// few bytes away. Doorbells of one address and width have the same neighbours, so these are
    /// examined once for all.
    fn check_beside(
        &self,
        set: SetId,
        wanted: impl Iterator<Item = Place>,
        goes: impl Fn(Place, SetId) -> bool,
    ) -> Result<Map, Error> {
        let mut new = Map::new();
        let mut last = None;
        for place in wanted {
            let range = (place.address, place.datamatch.bytes());
            let look = if last == Some(range) {
                Look::AtItsAddress
            } else {
                Look::AtNeighboursToo
            };
            self.check_one(set, place, &goes, &new, look)?;
            new.insert(place, set);
            last = Some(range);
        }
        Ok(new)
    }

    fn check_one(
        &self,
        set: SetId,
        place: Place,
        goes: impl Fn(Place, SetId) -> bool,
        new: &Map,
        look: Look,
    ) -> Result<(), Error> {
        if let Some(window) = self.windows.iter().find(|window| window.covers(place)) {
            return Err(refuse(place, Conflict::Device(*window)));
        }
        let there = clash(&self.held, place, look, goes)
            .or_else(|| clash(&self.leaving, place, look, |_, of| of == set))
            .or_else(|| clash(new, place, look, |_, _| false));
        match there.and_then(|there| Conflict::between(place, there)) {
            Some(conflict) => Err(refuse(place, conflict)),
            None => Ok(()),
        }
    }

    /// Gives a set these places, checked before or now. Those in `given_up` stay reserved until the
    /// change is finished or aborted.
    pub(crate) fn begin(
        &mut self,
        set: SetId,
        wanted: &[Place],
        given_up: &[Place],
        checked: Option<Checked>,
    ) -> Result<(), Error> {
        let mut new = match checked {
            Some(checked) if checked.version == self.version => checked.places,
            _ => self.check_all(set, wanted.iter().copied(), given_up, Quarantined::Stay)?,
        };
        self.version += 1;
        for place in given_up {
            self.held.remove(place);
            self.leaving.insert(*place, set);
        }
        if new.len() > self.held.len() / 8 {
            // Two long runs in order are merged faster than one is inserted into the other.
            self.held.append(&mut new);
        } else {
            self.held.extend(new);
        }
        Ok(())
    }

    /// Ends a change that succeeded. Doorbells in `stuck` keep their places, which may be among
    /// those given up.
    pub(crate) fn finish(&mut self, set: SetId, given_up: &[Place], stuck: &[Place]) {
        self.version += 1;
        for place in given_up {
            self.leaving.remove(place);
        }
        self.held.extend(stuck.iter().map(|place| (*place, set)));
    }

    /// Ends a change that was undone, except for the places in `stuck`.
    pub(crate) fn abort(
        &mut self,
        set: SetId,
        wanted: &[Place],
        given_up: &[Place],
        stuck: &[Place],
    ) {
        for place in wanted {
            self.held.remove(place);
        }
        self.finish(set, given_up, stuck);
        self.held.extend(given_up.iter().map(|place| (*place, set)));
    }

    /// Keeps the place of a doorbell that the kernel did not deregister when its set was dropped.
    pub(crate) fn quarantine(&mut self, place: Place) {
        self.version += 1;
        self.leaving.remove(&place);
        self.held.insert(place, SetId::QUARANTINE);
        self.quarantined += 1;
    }

    /// The number of doorbells in quarantine.
    pub(crate) fn quarantined(&self) -> usize {
        self.quarantined
    }

    /// Releases the place of a quarantined doorbell that was deregistered.
    pub(crate) fn release_quarantined(&mut self, place: Place) {
        self.quarantined -= 1;
        self.release(place);
    }

    /// Releases a place of a set.
    pub(crate) fn release(&mut self, place: Place) {
        self.version += 1;
        self.held.remove(&place);
        self.leaving.remove(&place);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::cell::Cell;

    use super::*;
    use crate::{Datamatch, IoAddress};

    /// A device in the kernel comes between the check and the change.
    #[test]
    fn what_was_checked_before_a_window_came_is_checked_again() {
        let place = Place::new(IoAddress::Mmio(0xd000_0000), Datamatch::U32(1));
        let set = SetId::new();
        let mut claims = Claims::new(&[]);
        let checked = claims.check(set, [place].into_iter(), &[]).unwrap();
        assert!(checked.is_some());
        let window = Window::new(place.address, 4, "a device");
        claims.reserve(window).unwrap();
        assert!(claims.begin(set, &[place], &[], checked).is_err());
        assert_eq!(claims.all().count(), 0);
    }

    /// Doorbells with a value move by less than their width: each old one is beside each new one.
    #[test]
    fn the_neighbours_of_many_values_at_one_address_are_looked_at_once() {
        const VALUES: u32 = 2000;
        let places = |address| {
            let place = move |value| Place::new(IoAddress::Mmio(address), Datamatch::U32(value));
            (0..VALUES).map(place)
        };
        let set = SetId::new();
        let mut claims = Claims::new(&[]);
        let old: Vec<_> = places(0xd000_0004).collect();
        claims.begin(set, &old, &[], None).unwrap();
        claims.finish(set, &[], &[]);
        for distance in 1..=4 {
            for address in [0xd000_0004 - distance, 0xd000_0004 + distance] {
                let looks = Cell::new(0);
                let goes = |_, of| {
                    looks.set(looks.get() + 1);
                    of == set
                };
                claims.check_beside(set, places(address), goes).unwrap();
                assert!(looks.get() <= VALUES, "{address:#x}: {}", looks.get());
                // One that stays among them is found all the same.
                let stays = *old.last().unwrap();
                let found = claims.check_beside(set, places(address), |one, _| one != stays);
                assert_eq!(found.is_err(), distance < 4);
            }
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Entries`]: the table as the kernel is given it, patched in place and put back on failure.

use std::collections::BTreeMap;

use notify_core::{RouteBuffer, RouteEntry};

use crate::commit::edit::KEPT_EDITS;
use crate::route::kernel_entries::pin_target;
use crate::{Gsi, Pins, Route};

/// The kernel's table, with the place of each GSI's entry in it.
///
/// Entries for pins stand in front, by chip and then by GSI: of two GSIs on one pin the kernel
/// gives the EOIs to the one that stands last, so their order must not depend on history. They
/// change when a machine is set up, and are then laid out anew. Behind them stands one entry for
/// each other route, in any order: one is added, overwritten or removed in constant time.
///
/// Edits take effect on the buffer at once, those of pins when they are laid out.
/// [`accept`](Self::accept) makes them final, [`rollback`](Self::rollback) takes back all since.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    buffer: RouteBuffer,
    pins: BTreeMap<Gsi, Pins>,
    /// How many entries of the buffer are for pins.
    pin_entries: usize,
    /// By GSI: the index of its single entry, counted behind those for pins.
    places: Vec<Option<u32>>,
    undo: Vec<Undo>,
    /// Whether the buffer's pins are out of date.
    pins_changed: bool,
}

/// How to take back one edit.
#[derive(Debug)]
enum Undo {
    /// An entry was overwritten: write this one to its place.
    Replace(RouteEntry),
    /// An entry was appended: remove the last one.
    Pop,
    /// An entry was removed and the last one moved there: move it back, and write this one.
    Insert { place: u32, entry: RouteEntry },
    /// Pins were changed: these were there.
    Pins { gsi: Gsi, old: Option<Pins> },
}

impl Entries {
    pub(crate) fn buffer(&self) -> &RouteBuffer {
        &self.buffer
    }

    /// How many edits have had an effect since the last time that they were accepted.
    pub(crate) fn edits(&self) -> usize {
        self.undo.len()
    }

    /// Whether the GSI leads somewhere.
    pub(crate) fn has(&self, gsi: Gsi) -> bool {
        self.place(gsi.number()).is_some() || self.pins.contains_key(&gsi)
    }

    /// Whether any GSI leads to pins.
    pub(crate) fn has_pins(&self) -> bool {
        !self.pins.is_empty()
    }

    /// How many entries the GSI has.
    pub(crate) fn count(&self, gsi: Gsi) -> usize {
        let pins = self.pins.get(&gsi).map_or(0, |pins| pins.iter().count());
        pins + usize::from(self.place(gsi.number()).is_some())
    }

    /// Takes memory for edits of these GSIs.
    pub(crate) fn reserve(&mut self, gsis: impl Iterator<Item = Gsi>) {
        let (mut all, mut new) = (0, 0);
        for gsi in gsis {
            all += 1;
            new += usize::from(self.place(gsi.number()).is_none());
        }
        self.undo.reserve(all);
        self.buffer.reserve(new);
    }

    /// Leads `gsi` to `route`, or nowhere. What is there already is left alone.
    pub(crate) fn set(&mut self, gsi: Gsi, route: Option<&Route>) {
        match route {
            Some(Route::Pins(pins)) => {
                self.remove_single(gsi);
                self.set_pins(gsi, Some(*pins));
            }
            Some(single) => {
                self.set_pins(gsi, None);
                if let Some(target) = single.single_target() {
                    self.set_single(gsi, RouteEntry::new(gsi.number(), target));
                }
            }
            None => {
                self.set_pins(gsi, None);
                self.remove_single(gsi);
            }
        }
    }

    /// Brings the buffer's pins up to date; to be called after the last edit.
    pub(crate) fn lay_out_pins(&mut self) {
        if !std::mem::take(&mut self.pins_changed) {
            return;
        }
        let mut entries: Vec<_> = self
            .pins
            .iter()
            .flat_map(|(gsi, pins)| pins.iter().map(|pin| (pin.chip(), *gsi, pin)))
            .collect();
        entries.sort_by_key(|(chip, gsi, _)| (*chip, *gsi));
        let entry = |gsi: Gsi, pin| RouteEntry::new(gsi.number(), pin_target(pin));
        let new = entries.iter().map(|(_, gsi, pin)| entry(*gsi, *pin));
        self.buffer.splice(0..self.pin_entries, new);
        self.pin_entries = entries.len();
    }

    /// Makes the edits final.
    pub(crate) fn accept(&mut self) {
        self.undo.clear();
        self.undo.shrink_to(KEPT_EDITS);
    }

    /// Takes back every edit since the last time that they were accepted.
    pub(crate) fn rollback(&mut self) {
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Replace(entry) => {
                    if let Some(place) = self.place(entry.gsi) {
                        self.buffer.replace(self.index(place), entry);
                    }
                }
                Undo::Pop => {
                    if let Some(entry) = self.buffer.pop() {
                        self.set_place(entry.gsi, None);
                    }
                }
                Undo::Insert { place, entry } => self.insert(place, entry),
                Undo::Pins { gsi, old } => {
                    self.put_pins(gsi, old);
                }
            }
        }
        self.lay_out_pins();
    }

    fn set_pins(&mut self, gsi: Gsi, pins: Option<Pins>) {
        if self.pins.get(&gsi) != pins.as_ref() {
            let old = self.put_pins(gsi, pins);
            self.undo.push(Undo::Pins { gsi, old });
        }
    }

    fn put_pins(&mut self, gsi: Gsi, pins: Option<Pins>) -> Option<Pins> {
        self.pins_changed = true;
        match pins {
            Some(pins) => self.pins.insert(gsi, pins),
            None => self.pins.remove(&gsi),
        }
    }

    fn set_single(&mut self, gsi: Gsi, entry: RouteEntry) {
        if let Some(place) = self.place(gsi.number()) {
            let index = self.index(place);
            if self.buffer.get(index) != Some(entry) {
                let old = self.buffer.replace(index, entry);
                self.undo.extend(old.map(Undo::Replace));
            }
        } else {
            let place = self.buffer.len() - self.pin_entries;
            self.buffer.push(entry);
            self.set_place(gsi.number(), u32::try_from(place).ok());
            self.undo.push(Undo::Pop);
        }
    }

    fn remove_single(&mut self, gsi: Gsi) {
        let Some(place) = self.place(gsi.number()) else {
            return;
        };
        let Some(entry) = self.buffer.swap_remove(self.index(place)) else {
            return;
        };
        if let Some(moved) = self.buffer.get(self.index(place)) {
            self.set_place(moved.gsi, Some(place));
        }
        self.set_place(gsi.number(), None);
        self.undo.push(Undo::Insert { place, entry });
    }

    /// The inverse of [`remove_single`](Self::remove_single).
    fn insert(&mut self, place: u32, entry: RouteEntry) {
        self.set_place(entry.gsi, Some(place));
        match self.buffer.replace(self.index(place), entry) {
            Some(moved) => {
                let last = self.buffer.len() - self.pin_entries;
                self.set_place(moved.gsi, u32::try_from(last).ok());
                self.buffer.push(moved);
            }
            None => self.buffer.push(entry),
        }
    }

    fn index(&self, place: u32) -> usize {
        self.pin_entries + place as usize
    }

    fn place(&self, gsi: u32) -> Option<u32> {
        self.places.get(gsi as usize).copied().flatten()
    }

    fn set_place(&mut self, gsi: u32, place: Option<u32>) {
        let gsi = gsi as usize;
        if gsi >= self.places.len() {
            self.places.resize(gsi + 1, None);
        }
        if let Some(slot) = self.places.get_mut(gsi) {
            *slot = place;
        }
    }
}

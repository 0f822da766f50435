// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Entries`]: the table as the kernel reads it, edited in place and rolled back on failure.
//!
//! A copy of the table before each commit instead of the undo log is no shorter. It costs up to 6
//! us of a commit instead of 0.1 us, and 56 bytes more for each GSI.

use std::collections::BTreeMap;

use notify_core::{RouteBuffer, RouteEntry};

use crate::commit::edit::KEPT_EDITS;
use crate::route::kernel_entries::pin_target;
use crate::{Gsi, Pins, Route};

/// The kernel's table, with the place of each GSI's entry in it.
///
/// Entries for pins come first, by chip and then by GSI: of two GSIs on one pin the kernel gives
/// the EOIs to the last, so their order must not depend on history. They change when a VM is set
/// up, and are then laid out again. One entry for each other route follows, in any order: it is
/// added, overwritten or removed in constant time.
///
/// Edits change the buffer at once, those of pins when they are laid out. [`accept`](Self::accept)
/// makes them final; [`rollback`](Self::rollback) undoes all since the last `accept`. The order of
/// entries that are not pins may differ after it.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    buffer: RouteBuffer,
    pins: BTreeMap<Gsi, Pins>,
    /// How many entries of the buffer are for pins.
    pin_entries: usize,
    /// By GSI: the index of its single entry, counted behind those for pins.
    places: Vec<Option<u32>>,
    undo: Vec<Before>,
    /// Whether the buffer's pins are out of date.
    pins_changed: bool,
}

/// What a GSI had before an edit.
#[derive(Debug)]
enum Before {
    Single(Gsi, Option<RouteEntry>),
    Pins(Gsi, Option<Pins>),
}

impl Entries {
    pub(crate) fn buffer(&self) -> &RouteBuffer {
        &self.buffer
    }

    /// How many edits have had an effect since the last time that they were accepted.
    pub(crate) fn edits(&self) -> usize {
        self.undo.len()
    }

    /// Whether the GSI has an entry.
    pub(crate) fn has(&self, gsi: Gsi) -> bool {
        self.place(gsi.number()).is_some() || self.pins.contains_key(&gsi)
    }

    /// Whether any GSI is routed to pins.
    pub(crate) fn has_pins(&self) -> bool {
        !self.pins.is_empty()
    }

    /// How many entries the GSI has.
    pub(crate) fn count(&self, gsi: Gsi) -> usize {
        let pins = self.pins.get(&gsi).map_or(0, |pins| pins.iter().count());
        pins + usize::from(self.place(gsi.number()).is_some())
    }

    /// Allocates memory for edits of these GSIs.
    pub(crate) fn reserve(&mut self, gsis: impl Iterator<Item = Gsi>) {
        let (mut all, mut new) = (0, 0);
        for gsi in gsis {
            all += 1;
            new += usize::from(self.place(gsi.number()).is_none());
        }
        self.undo.reserve(all);
        self.buffer.reserve(new);
    }

    /// Sets or removes the entries of `gsi`. Does nothing if it has that route already.
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

    /// Undoes every edit since the last [`accept`](Self::accept).
    pub(crate) fn rollback(&mut self) {
        while let Some(before) = self.undo.pop() {
            match before {
                Before::Single(gsi, Some(entry)) => drop(self.put_single(gsi, entry)),
                Before::Single(gsi, None) => drop(self.take_single(gsi)),
                Before::Pins(gsi, pins) => drop(self.put_pins(gsi, pins)),
            }
        }
        self.lay_out_pins();
    }

    fn set_pins(&mut self, gsi: Gsi, pins: Option<Pins>) {
        if self.pins.get(&gsi) != pins.as_ref() {
            let old = self.put_pins(gsi, pins);
            self.undo.push(Before::Pins(gsi, old));
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
        let place = self.place(gsi.number());
        if place.and_then(|place| self.buffer.get(self.index(place))) != Some(entry) {
            let old = self.put_single(gsi, entry);
            self.undo.push(Before::Single(gsi, old));
        }
    }

    fn remove_single(&mut self, gsi: Gsi) {
        if let Some(old) = self.take_single(gsi) {
            self.undo.push(Before::Single(gsi, Some(old)));
        }
    }

    /// Overwrites or appends the entry of a GSI. Returns the old one.
    fn put_single(&mut self, gsi: Gsi, entry: RouteEntry) -> Option<RouteEntry> {
        if let Some(place) = self.place(gsi.number()) {
            return self.buffer.replace(self.index(place), entry);
        }
        let place = self.buffer.len() - self.pin_entries;
        self.buffer.push(entry);
        self.set_place(gsi.number(), u32::try_from(place).ok());
        None
    }

    /// Removes the entry of a GSI, and returns it. The last one takes its place.
    fn take_single(&mut self, gsi: Gsi) -> Option<RouteEntry> {
        let place = self.place(gsi.number())?;
        let old = self.buffer.swap_remove(self.index(place))?;
        if let Some(moved) = self.buffer.get(self.index(place)) {
            self.set_place(moved.gsi, Some(place));
        }
        self.set_place(gsi.number(), None);
        Some(old)
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

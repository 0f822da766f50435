// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Table`]: which key is which handler.

use std::sync::Arc;

use super::Error;
use super::entry::Entry;
use super::token::Key;

/// The handlers of a dispatcher by place.
#[derive(Debug, Default)]
pub(super) struct Table {
    places: Vec<Place>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place {
    generation: u32,
    entry: Option<Arc<Entry>>,
}

impl Table {
    /// The name that the next handler will have.
    pub(super) fn next(&self) -> Result<Key, Error> {
        if let Some(&place) = self.free.last()
            && let Some(found) = self.places.get(place as usize)
        {
            let generation = found.generation;
            return Ok(Key { place, generation });
        }
        let place = u32::try_from(self.places.len()).ok();
        // The last number is the waker's.
        let place = place.filter(|place| *place < u32::MAX).ok_or(Error::Full)?;
        Ok(Key {
            place,
            generation: 0,
        })
    }

    /// Enters a handler under the name that [`next`](Self::next) gave.
    pub(super) fn insert(&mut self, key: Key, entry: Arc<Entry>) {
        let entry = Some(entry);
        match self.places.get_mut(key.place as usize) {
            Some(place) => {
                self.free.pop();
                place.entry = entry;
            }
            None => self.places.push(Place {
                generation: key.generation,
                entry,
            }),
        }
    }

    pub(super) fn get(&self, key: Key) -> Option<&Arc<Entry>> {
        let place = self.places.get(key.place as usize)?;
        place
            .entry
            .as_ref()
            .filter(|_| place.generation == key.generation)
    }

    /// Gives the name up for ever, and its place to others.
    pub(super) fn free(&mut self, key: Key) -> Option<Arc<Entry>> {
        let place = self.places.get_mut(key.place as usize)?;
        if place.generation != key.generation {
            return None;
        }
        let entry = place.entry.take()?;
        // A place whose generations are used up is not used again.
        if let Some(next) = place.generation.checked_add(1) {
            place.generation = next;
            self.free.push(key.place);
        }
        Some(entry)
    }

    /// All handlers, by value.
    pub(super) fn into_entries(self) -> impl Iterator<Item = Arc<Entry>> {
        self.places.into_iter().filter_map(|place| place.entry)
    }

    /// All handlers.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.places.iter().filter_map(|place| place.entry.as_ref())
    }
}

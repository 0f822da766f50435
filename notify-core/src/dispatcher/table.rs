// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Table`]: the handlers of a dispatcher by their tokens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::Error;
use super::handler::Kind;
use super::slot::Slot;
use super::token::Key;
use super::watch::Watched;

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
    /// Returns the key that the next handler will have.
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

    /// Enters a handler under the key that [`next`](Self::next) returned.
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

    /// Removes a handler. Its key is never used again; its place is.
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

/// Not among those that are polled.
const NOWHERE: usize = usize::MAX;

/// A handler with its notifier, and what the thread that runs the dispatcher notes about it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) slot: Slot<Watched, Kind>,
    /// Whether it is in the backlog, its place among those that are polled, and how long its window
    /// was when it left them, in nanoseconds. Only the thread that runs the dispatcher reads or
    /// writes these.
    queued: AtomicBool,
    member: AtomicUsize,
    window: AtomicU64,
}

impl Entry {
    pub(super) fn new(watched: Watched, handler: Kind) -> Self {
        Self {
            slot: Slot::new(watched, handler),
            queued: AtomicBool::new(false),
            member: AtomicUsize::new(NOWHERE),
            window: AtomicU64::new(0),
        }
    }

    pub(super) fn watched(&self) -> &Watched {
        &self.slot.signals
    }

    /// Notes whether it is in the backlog. Returns whether it was.
    pub(super) fn set_queued(&self, queued: bool) -> bool {
        let before = self.queued.load(Ordering::Relaxed);
        self.queued.store(queued, Ordering::Relaxed);
        before
    }

    pub(super) fn member(&self) -> Option<usize> {
        let place = self.member.load(Ordering::Relaxed);
        (place != NOWHERE).then_some(place)
    }

    /// How long the handler's poll window was when it left those that are polled.
    pub(super) fn window(&self) -> Duration {
        Duration::from_nanos(self.window.load(Ordering::Relaxed))
    }

    pub(super) fn set_window(&self, window: Duration) {
        let nanoseconds = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        self.window.store(nanoseconds, Ordering::Relaxed);
    }

    pub(super) fn set_member(&self, place: Option<usize>) {
        self.member
            .store(place.unwrap_or(NOWHERE), Ordering::Relaxed);
    }
}

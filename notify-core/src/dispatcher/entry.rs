// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Entry`]: a handler with its notifier, and what the loop notes about it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::handler::Kind;
use super::slot::Slot;
use super::watch::Watched;

/// Not among those that are polled.
const NOWHERE: usize = usize::MAX;

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) slot: Slot<Watched, Kind>,
    /// Whether it is in the backlog, and where among those that are polled. Only the thread that runs
    /// the dispatcher reads or writes these two.
    queued: AtomicBool,
    member: AtomicUsize,
}

impl Entry {
    pub(super) fn new(watched: Watched, handler: Kind) -> Self {
        Self {
            slot: Slot::new(watched, handler),
            queued: AtomicBool::new(false),
            member: AtomicUsize::new(NOWHERE),
        }
    }

    pub(super) fn watched(&self) -> &Watched {
        &self.slot.signals
    }

    /// Notes whether it is in the backlog; answers whether it was.
    pub(super) fn set_queued(&self, queued: bool) -> bool {
        let before = self.queued.load(Ordering::Relaxed);
        self.queued.store(queued, Ordering::Relaxed);
        before
    }

    pub(super) fn member(&self) -> Option<usize> {
        let place = self.member.load(Ordering::Relaxed);
        (place != NOWHERE).then_some(place)
    }

    pub(super) fn set_member(&self, place: Option<usize>) {
        self.member
            .store(place.unwrap_or(NOWHERE), Ordering::Relaxed);
    }
}

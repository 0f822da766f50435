// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Entry`]: a handler with its notifier, and what the loop notes about it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::PollWindow;
use super::handler::Kind;
use super::slot::Slot;
use super::watch::Watched;

/// Not among those that are polled.
const NOWHERE: usize = usize::MAX;

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) slot: Slot<Watched, Kind>,
    /// Whether it is in the backlog; where it is among those that are polled; and how long its
    /// window was when it left them, in nanoseconds. Only the thread that runs the dispatcher reads
    /// or writes these.
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

    pub(super) fn window(&self) -> PollWindow {
        PollWindow::with_length(Duration::from_nanos(self.window.load(Ordering::Relaxed)))
    }

    pub(super) fn set_window(&self, window: PollWindow) {
        let nanoseconds = u64::try_from(window.length().as_nanos()).unwrap_or(u64::MAX);
        self.window.store(nanoseconds, Ordering::Relaxed);
    }

    pub(super) fn set_member(&self, place: Option<usize>) {
        self.member
            .store(place.unwrap_or(NOWHERE), Ordering::Relaxed);
    }
}

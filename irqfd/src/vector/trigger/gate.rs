// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Gate`]: lets triggers through, or keeps one of them.

#[cfg(not(loom))]
use std::time::Duration;

use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::thread::{self, Thread};
use crate::sync::{Mutex, spin_loop};

/// Triggers pass through.
const OPEN: u32 = 1 << 31;
/// A trigger came while the gate was closed, or was kept for another reason.
const PENDING: u32 = 1 << 30;
/// A thread sleeps until nothing is in flight.
const AWAITED: u32 = 1 << 29;
/// How many triggers are in flight.
const IN_FLIGHT: u32 = AWAITED - 1;

/// How often a thread that closes looks at the count before it sleeps: an injection takes a
/// fraction of a microsecond, unless its thread has lost the processor.
const SPINS: u32 = if cfg!(loom) { 1 } else { 200 };

/// A gate for triggers. Passing takes a few atomic operations and no lock.
///
/// One word has whether it is open, whether a trigger was kept, and how many are in flight. So a
/// trigger either passes or is kept, and one that was kept is taken out once. Opening and
/// closing belong to one thread at a time.
#[derive(Debug)]
pub(crate) struct Gate {
    state: AtomicU32,
    /// The thread that sleeps until nothing is in flight.
    sleeper: Mutex<Option<Thread>>,
}

/// A trigger in flight. It has ended when this is dropped.
#[derive(Debug)]
pub(crate) struct InFlight<'a>(&'a Gate);

impl Gate {
    /// A closed gate.
    pub(crate) fn new() -> Self {
        Self {
            state: AtomicU32::new(0),
            sleeper: Mutex::new(None),
        }
    }

    /// Passes, or leaves a pending trigger behind.
    pub(crate) fn enter(&self) -> Option<InFlight<'_>> {
        let before = self.update(|state| {
            // The write is needed even if the bit is there already: the thread that takes it out
            // must see all that this thread did before.
            if state & OPEN == 0 {
                state | PENDING
            } else {
                state + 1
            }
        });
        (before & OPEN != 0).then(|| InFlight(self))
    }

    /// Opens; a trigger that was kept passes now, and only now.
    pub(crate) fn open(&self) -> Option<InFlight<'_>> {
        let before = self.update(|state| {
            let passes = u32::from(state & PENDING != 0);
            (state & !PENDING | OPEN) + passes
        });
        (before & PENDING != 0).then(|| InFlight(self))
    }

    /// Closes, and returns when nothing is in flight.
    pub(crate) fn close(&self) {
        self.update(|state| state & !OPEN);
        for _ in 0..SPINS {
            if self.is_still() {
                return;
            }
            spin_loop();
        }
        *self.sleeper.lock() = Some(thread::current());
        self.update(|state| state | AWAITED);
        while !self.is_still() {
            park();
        }
        self.update(|state| state & !AWAITED);
        *self.sleeper.lock() = None;
    }

    /// Keeps a trigger, also while the gate is open.
    pub(crate) fn keep(&self) {
        self.update(|state| state | PENDING);
    }

    /// Whether a trigger was kept.
    pub(crate) fn is_pending(&self) -> bool {
        self.state.load(Ordering::Acquire) & PENDING != 0
    }

    /// Takes out the trigger that was kept.
    pub(crate) fn take_pending(&self) -> bool {
        self.update(|state| state & !PENDING) & PENDING != 0
    }

    fn is_still(&self) -> bool {
        self.state.load(Ordering::Acquire) & IN_FLIGHT == 0
    }

    /// Returns the state before.
    fn update(&self, change: impl Fn(u32) -> u32) -> u32 {
        let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
        let change = |state| Some(change(state));
        match self.state.fetch_update(success, failure, change) {
            Ok(before) | Err(before) => before,
        }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let before = self.0.state.fetch_sub(1, Ordering::AcqRel);
        if before & IN_FLIGHT == 1 && before & AWAITED != 0 {
            // The sleeper holds the lock for an instant at most, and looks again by itself.
            if let Some(sleeper) = self.0.sleeper.try_lock() {
                sleeper.as_ref().inspect(|thread| thread.unpark());
            }
        }
    }
}

/// Sleeps until it is unparked, or a while.
#[cfg(not(loom))]
fn park() {
    thread::park_timeout(Duration::from_millis(1));
}

/// Without a time limit, so that a call that does not come shows.
#[cfg(loom)]
fn park() {
    thread::park();
}

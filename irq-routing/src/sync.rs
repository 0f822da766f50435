// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Locks that a panic does not poison, and that loom can take the place of.
//!
//! What they guard is in order whenever they are unlocked.

#[cfg(loom)]
use loom::sync;
#[cfg(not(loom))]
use std::sync;

use std::sync::PoisonError;

pub(crate) use sync::MutexGuard;
use sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What threads wait for. It knows whether any does, because waking nobody costs a system call,
/// too.
#[derive(Debug)]
pub(crate) struct Condvar {
    condvar: sync::Condvar,
    /// Changes under the lock that is waited with, so that who changes something and unlocks sees
    /// all that waited for it.
    waiting: AtomicUsize,
}

impl Condvar {
    pub(crate) fn new() -> Self {
        Self {
            condvar: sync::Condvar::new(),
            waiting: AtomicUsize::new(0),
        }
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let waited = self.condvar.wait(guard);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn notify_all(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.condvar.notify_all();
        }
    }
}

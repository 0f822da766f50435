// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A mutex without poison, a condition variable that knows whether a thread waits, and loom's types
//! in their place for the models of `tests/loom.rs`.
//!
//! The guarded state is consistent whenever the mutex is unlocked. The standard library's mutex
//! without poison is not stable, and its condition variable makes a system call in each
//! `notify_all`.

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

/// A condition variable. `notify_all` makes no system call if no thread waits.
#[derive(Debug)]
pub(crate) struct Condvar {
    condvar: sync::Condvar,
    /// Changes only under the lock that is waited with. So a thread that has changed something
    /// under that lock sees every thread that waits for it.
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

    /// Waits while the condition holds.
    pub(crate) fn wait_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        condition: impl Fn(&T) -> bool,
    ) -> MutexGuard<'a, T> {
        while condition(&guard) {
            guard = self.wait(guard);
        }
        guard
    }

    pub(crate) fn notify_all(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.condvar.notify_all();
        }
    }
}

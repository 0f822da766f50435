// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Locks that a panic does not poison, and that loom can take the place of.
//!
//! What they guard is in order whenever they are unlocked, even by a panic; see
//! [`Round`](crate::round::Round).

#[cfg(loom)]
use loom::sync;
#[cfg(not(loom))]
use std::sync;

use std::sync::PoisonError;

pub(crate) use sync::MutexGuard;

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

#[derive(Debug)]
pub(crate) struct Condvar(sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self(sync::Condvar::new())
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

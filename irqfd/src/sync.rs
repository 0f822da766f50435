// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Atomics, locks and threads, which loom can take the place of.

#[cfg(not(loom))]
use std as implementation;

#[cfg(loom)]
use loom as implementation;

pub(crate) use implementation::hint::spin_loop;
pub(crate) use implementation::sync::atomic;
pub(crate) use implementation::sync::{MutexGuard, RwLock, RwLockReadGuard};
pub(crate) use implementation::thread;

use std::sync::PoisonError;

/// A lock that a panic does not poison: what it guards is in order at every unlock.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(implementation::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(implementation::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lock, unless another thread has it.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok()
    }
}

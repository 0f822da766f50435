// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the explored parts are made of: the standard library's, or loom's.

#[cfg(loom)]
pub(crate) use loom::{
    sync::atomic::{AtomicBool, Ordering},
    sync::{Condvar, Mutex, MutexGuard},
    thread::{ThreadId, current},
};
#[cfg(not(loom))]
pub(crate) use std::{
    sync::atomic::{AtomicBool, Ordering},
    sync::{Condvar, Mutex, MutexGuard},
    thread::{ThreadId, current},
};

/// The calling thread.
pub(crate) fn me() -> ThreadId {
    current().id()
}

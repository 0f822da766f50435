// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Exported`]: the notifier that triggers signal.

use std::sync::{Arc, PoisonError};

use notify_core::EventNotifier;

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{RwLock, RwLockReadGuard};

/// The notifier of an exported vector; an internal one has none.
///
/// It is exchanged only while the gate is closed and nothing is in flight. So a trigger in flight
/// never meets a writer, and to copy the notifier is two atomic operations that cannot wait. A
/// trigger of an internal vector does not even read: the flag is enough. A trigger that has
/// signalled the notifier looks whether it is the notifier still; that may meet a writer, for the
/// time that it takes to store a pointer.
#[derive(Debug)]
pub(crate) struct Exported {
    is: AtomicBool,
    notifier: RwLock<Option<Arc<EventNotifier>>>,
}

impl Exported {
    pub(crate) fn new() -> Self {
        Self {
            is: AtomicBool::new(false),
            notifier: RwLock::new(None),
        }
    }

    /// Whether there is one; for a trigger in flight or under the vector's lock, which order the
    /// memory.
    pub(crate) fn is_some(&self) -> bool {
        self.is.load(Ordering::Relaxed)
    }

    /// The notifier, where [`is_some`](Self::is_some) may be asked.
    pub(crate) fn copy(&self) -> Option<Arc<EventNotifier>> {
        self.is_some().then(|| self.get()).flatten()
    }

    /// Whether this is the notifier, for anybody.
    pub(crate) fn is(&self, notifier: &Arc<EventNotifier>) -> bool {
        let current = self.read();
        current.as_ref().is_some_and(|it| Arc::ptr_eq(it, notifier))
    }

    /// The notifier, for anybody.
    pub(crate) fn get(&self) -> Option<Arc<EventNotifier>> {
        self.read().clone()
    }

    /// Puts another one in its place, while the gate is closed.
    pub(crate) fn swap(&self, new: Option<Arc<EventNotifier>>) -> Option<Arc<EventNotifier>> {
        self.is.store(new.is_some(), Ordering::Relaxed);
        let mut notifier = self
            .notifier
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *notifier, new)
    }

    fn read(&self) -> RwLockReadGuard<'_, Option<Arc<EventNotifier>>> {
        self.notifier.read().unwrap_or_else(PoisonError::into_inner)
    }
}

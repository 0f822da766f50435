// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Outlet`]: what a trigger does.

use std::sync::{Arc, PoisonError};

use notify_core::EventNotifier;

use crate::sync::atomic::{AtomicU8, Ordering};
use crate::sync::{RwLock, RwLockReadGuard};

/// What a trigger does.
#[derive(Debug, Clone)]
pub(crate) enum Output {
    /// It sends the message.
    Message,
    /// It signals a notifier that only the vector has. While that is not bound, the gate is closed.
    Own(Arc<EventNotifier>),
    /// It signals a notifier that was handed out. The gate is open, whether the notifier is bound
    /// or not.
    Shared(Arc<EventNotifier>),
    /// Nothing: the notifier was taken away. The gate is closed.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Message = 0,
    Own = 1,
    Shared = 2,
    Nothing = 3,
}

/// The output that a vector has now.
///
/// It is exchanged only while the gate is closed and nothing is in flight. So a trigger in flight
/// never meets a writer, and to read the notifier is two atomic operations that cannot wait. A
/// trigger that sends the message does not even read: the kind is enough. A trigger that has
/// signalled a shared notifier looks whether it is the notifier still; that may meet a writer, for
/// the time that it takes to store a pointer.
#[derive(Debug)]
pub(crate) struct Outlet {
    /// The kind of the output.
    kind: AtomicU8,
    output: RwLock<Output>,
}

impl Output {
    fn kind(&self) -> Kind {
        match self {
            Self::Message => Kind::Message,
            Self::Own(_) => Kind::Own,
            Self::Shared(_) => Kind::Shared,
            Self::Nothing => Kind::Nothing,
        }
    }

    /// What is bound to the GSI, or is to be.
    fn notifier(&self) -> Option<&Arc<EventNotifier>> {
        match self {
            Self::Own(notifier) | Self::Shared(notifier) => Some(notifier),
            Self::Message | Self::Nothing => None,
        }
    }

    pub(crate) fn into_shared(self) -> Option<Arc<EventNotifier>> {
        match self {
            Self::Shared(notifier) => Some(notifier),
            _ => None,
        }
    }
}

impl Outlet {
    pub(crate) fn new(output: Output) -> Self {
        Self {
            kind: AtomicU8::new(output.kind() as u8),
            output: RwLock::new(output),
        }
    }

    /// For a trigger in flight or under the vector's lock, which order the memory.
    pub(crate) fn kind(&self) -> Kind {
        match self.kind.load(Ordering::Relaxed) {
            0 => Kind::Message,
            1 => Kind::Own,
            2 => Kind::Shared,
            _ => Kind::Nothing,
        }
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.kind() == Kind::Shared
    }

    /// The notifier that was handed out, for any thread.
    pub(crate) fn shared(&self) -> Option<Arc<EventNotifier>> {
        self.read().clone().into_shared()
    }

    /// The notifier that is bound to the GSI, or is to be.
    pub(crate) fn notifier(&self) -> Option<Arc<EventNotifier>> {
        self.read().notifier().cloned()
    }

    /// Whether this is the notifier that was handed out, for any thread.
    pub(crate) fn is(&self, notifier: &Arc<EventNotifier>) -> bool {
        matches!(&*self.read(), Output::Shared(it) if Arc::ptr_eq(it, notifier))
    }

    /// Signals the vector's own notifier, for a trigger in flight. It cannot block: nothing else
    /// writes there.
    pub(crate) fn signal_own(&self) -> Result<(), notify_core::Error> {
        match &*self.read() {
            Output::Own(notifier) => notifier.notify(),
            _ => Ok(()),
        }
    }

    /// Takes the signal of the vector's own notifier, which is not bound. Returns whether there was
    /// one.
    pub(crate) fn take_own_signal(&self) -> bool {
        match &*self.read() {
            // If it cannot be read it may be signalled.
            Output::Own(notifier) => !matches!(notifier.consume(), Ok(None)),
            _ => false,
        }
    }

    /// Puts another output in place, while the gate is closed.
    pub(crate) fn swap(&self, new: Output) -> Output {
        self.kind.store(new.kind() as u8, Ordering::Relaxed);
        let mut output = self.output.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *output, new)
    }

    fn read(&self) -> RwLockReadGuard<'_, Output> {
        self.output.read().unwrap_or_else(PoisonError::into_inner)
    }
}

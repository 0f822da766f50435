// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Signals that a vector keeps, and what a queue takes along when it moves to another vector.

use notify_core::EventNotifier;

use super::control::Control;
use super::{Inner, signal_anew};
use crate::Vector;
use crate::bound::empty_if_full;

impl Inner {
    pub(super) fn is_pending(&self) -> bool {
        let control = self.control.lock();
        match self.exported.get() {
            None => self.gate.is_pending(),
            // KVM takes all that comes.
            Some(_) if control.is_armed() => false,
            Some(notifier) => notifier.is_signalled().unwrap_or(false),
        }
    }

    pub(super) fn clear_pending(&self) {
        self.clear_pending_locked(&self.control.lock());
    }

    pub(super) fn clear_pending_locked(&self, control: &Control) {
        match self.exported.get() {
            None => drop(self.gate.take_pending()),
            Some(notifier) if !control.is_armed() => drop(notifier.consume()),
            Some(_) => {}
        }
    }
}

impl Vector {
    /// Takes the signal that [`is_pending`](Self::is_pending) reports, and returns whether there
    /// was one. With `keep` it also stays here.
    ///
    /// What is in the notifier of an armed vector is not pending: KVM has injected it.
    pub(crate) fn take_pending(&self, keep: bool) -> bool {
        let control = self.inner.control.lock();
        match self.inner.exported.get() {
            None if keep => self.inner.gate.is_pending(),
            None => self.inner.gate.take_pending(),
            Some(_) if control.is_armed() => false,
            // If it cannot be read it may be signalled.
            Some(notifier) if keep => notifier.is_signalled().unwrap_or(true),
            Some(notifier) => !matches!(notifier.consume(), Ok(None)),
        }
    }
}

/// Signals a notifier that a peer may have filled and made blocking: it is emptied before the
/// write, which would block otherwise. Call it without a lock, because the peer may fill it again
/// in between.
pub(crate) fn signal_moved(notifier: &EventNotifier) -> Result<(), notify_core::Error> {
    empty_if_full(notifier);
    signal_anew(notifier)
}

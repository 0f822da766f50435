// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Signals that a vector keeps, and what a queue takes along when it moves to another vector.

use std::sync::Arc;

use notify_core::EventNotifier;

use super::Inner;
use super::control::Control;
use super::outlet::Kind;
use super::trigger::signal_anew;
use crate::bound::empty_if_full;

impl Inner {
    /// The notifier of which KVM takes no signal, so that one that it has is pending: one that was
    /// handed out and is not armed, or the vector's own while the translation blocks the message.
    fn unheard(&self, control: &Control) -> Option<Arc<EventNotifier>> {
        let may_have_signal = match self.outlet.kind() {
            Kind::Shared => !control.is_armed(),
            Kind::Own => control.is_blocked(),
            Kind::Message | Kind::Nothing => false,
        };
        may_have_signal.then(|| self.outlet.notifier()).flatten()
    }

    pub(super) fn is_pending(&self) -> bool {
        let control = self.control.lock();
        let signalled = |notifier: Arc<EventNotifier>| notifier.is_signalled().unwrap_or(false);
        self.gate.is_pending() || self.unheard(&control).is_some_and(signalled)
    }

    pub(crate) fn clear_pending(&self) {
        self.clear_pending_locked(&self.control.lock());
    }

    pub(super) fn clear_pending_locked(&self, control: &Control) {
        self.gate.take_pending();
        if let Some(notifier) = self.unheard(control) {
            // If it cannot be read, it keeps what it has.
            let _ = notifier.consume();
        }
    }

    /// Takes the signal that [`is_pending`](Self::is_pending) reports, and returns whether there
    /// was one. With `keep` it also stays here.
    pub(crate) fn take_pending(&self, keep: bool) -> bool {
        let control = self.control.lock();
        // If it cannot be read it may be signalled.
        let signalled = |notifier: Arc<EventNotifier>| match keep {
            true => notifier.is_signalled().unwrap_or(true),
            false => !matches!(notifier.consume(), Ok(None)),
        };
        let kept = match keep {
            true => self.gate.is_pending(),
            false => self.gate.take_pending(),
        };
        self.unheard(&control).is_some_and(signalled) || kept
    }
}

/// Signals a notifier that a peer may have filled and made blocking: it is emptied before the
/// write, which would block otherwise. Call it without a lock, because the peer may fill it again
/// in between.
pub(crate) fn signal_moved(notifier: &EventNotifier) -> Result<(), notify_core::Error> {
    empty_if_full(notifier);
    signal_anew(notifier)
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Taken`]: how a notifier that may be full is bound.

use notify_core::{EventFdMode, EventNotifier};

/// What a notifier had before it was bound. When this is dropped, after the binding, it is
/// signalled once.
///
/// A notifier that is bound while its counter is full is dead: KVM sees no later signal,
/// because each write is refused. Whether a counter is full can be asked by poll(2) alone, which
/// system call filters do not allow. So the counter is taken before the binding, whatever it has,
/// and a signal is written after it. (Not before: KVM takes each write to what is bound, so that
/// the counter does not fill up again. Nor is the counter taken after the binding without a write:
/// KVM has injected by then what was there, but a simulated VM takes signals later than they come.)
///
/// No signal is lost or added. Those that were there merge into one. If the binding fails, or the
/// VM panics, the signal is back in the notifier.
///
/// Drop it without a lock: before Linux 5.11 KVM does not take what is written, and a peer that
/// fills the counter once more, and has made it blocking, holds the write up.
#[must_use = "the signal comes back when this is dropped"]
pub(crate) struct Taken<'a>(Option<&'a EventNotifier>);

impl<'a> Taken<'a> {
    /// Of a notifier that is about to be bound. A private one is left as it is: no other process
    /// can fill it. So is a semaphore, which is refused: of that each read takes one signal, and
    /// they do not merge.
    pub(crate) fn from(notifier: &'a EventNotifier) -> Self {
        let is_taken = !notifier.is_private() && notifier.mode() != EventFdMode::Semaphore;
        // If it cannot be read, it keeps what it has.
        let has_signal = is_taken && matches!(notifier.consume(), Ok(Some(_)));
        Self(has_signal.then_some(notifier))
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(notifier) = self.0 {
            // A peer may have filled it meanwhile and made it blocking. What is taken here merges
            // with the signal.
            let _ = notifier.consume();
            // An open eventfd takes it.
            let _ = notifier.notify();
        }
    }
}

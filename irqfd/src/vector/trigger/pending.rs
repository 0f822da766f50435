// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Signals that a vector keeps, and those that move with a queue to another vector.
//!
//! KVM takes no signal of a notifier that was handed out and is not armed, nor of any notifier
//! while the translation blocks the message. Such a signal is pending. To find it, the counter is
//! taken, and the signal is kept in the gate as the vector's pending bit. (To look without taking
//! is poll(2), which system call filters do not allow.) The signal is not written back, since a
//! peer that shares the notifier can make a write block. When the vector is armed, the pending bit
//! is delivered.

use std::sync::Arc;

use notify_core::EventNotifier;

use super::outlet::Kind;
use super::{is_delivered, signal_anew};
use crate::sync::MutexGuard;
use crate::vector::Inner;
use crate::vector::control::{Arm, Control};

impl Inner {
    /// Takes the signal of a notifier of which KVM takes none. Returns whether there was one.
    fn take_uninjected_signal(&self, control: &Control) -> Result<bool, notify_core::Error> {
        let has_signal = match (self.outlet.kind(), &control.arm) {
            (Kind::Own | Kind::Shared, Arm::Armed(irq)) => irq.take_if_blocked()?,
            (Kind::Shared, _) => match self.outlet.notifier() {
                Some(notifier) => notifier.consume()?.is_some(),
                None => false,
            },
            // A vector's own notifier is not signalled while it is not bound.
            (Kind::Own | Kind::Message | Kind::Nothing, _) => false,
        };
        Ok(has_signal)
    }

    pub(in crate::vector) fn is_pending(&self) -> bool {
        let control = self.control.lock();
        self.gate.is_pending() || control.deliveries > 0 || self.keep_uninjected_signal(&control)
    }

    /// Makes a signal that is in the notifier the vector's pending bit. Returns whether there was
    /// one.
    fn keep_uninjected_signal(&self, control: &Control) -> bool {
        // If it cannot be read, it keeps what it has.
        let has_signal = self.take_uninjected_signal(control).unwrap_or(false);
        if has_signal {
            self.gate.keep();
        }
        has_signal
    }

    /// The vector is about to be armed: what its notifier has merges with the pending bit, so that
    /// one interrupt is delivered for both.
    pub(in crate::vector) fn merge_pending(&self, control: &Control) {
        if self.gate.is_pending() {
            self.keep_uninjected_signal(control);
        }
    }

    /// Sets the pending bit, for a signal that the notifier does not take.
    pub(crate) fn keep_pending(&self) {
        self.gate.keep();
    }

    pub(crate) fn clear_pending(&self) {
        self.clear_pending_locked(&self.control.lock());
    }

    pub(in crate::vector) fn clear_pending_locked(&self, control: &Control) {
        self.gate.take_pending();
        // If it cannot be read, it keeps what it has.
        let _ = self.take_uninjected_signal(control);
    }

    /// Takes the signal that [`is_pending`](Self::is_pending) reports, and returns whether there
    /// was one. With `keep` it also stays here.
    pub(crate) fn take_pending(&self, keep: bool) -> bool {
        let control = self.control.lock();
        // If it cannot be read it may be signalled.
        let uninjected = self.take_uninjected_signal(&control).unwrap_or(true);
        let pending = self.gate.take_pending() || uninjected;
        if pending && keep {
            self.gate.keep();
        }
        // One that is being delivered stays here in any case.
        pending || control.deliveries > 0
    }

    /// Signals the notifier of an exported vector, of which a peer may have filled the counter and
    /// made it blocking: the counter is emptied before the write. Call it without a lock, because
    /// the peer may fill it again in between.
    pub(crate) fn signal_moved(&self, notifier: &EventNotifier) -> Result<(), notify_core::Error> {
        self.make_room(&self.control.lock(), notifier);
        signal_anew(notifier)
    }

    pub(in crate::vector) fn make_room(&self, control: &Control, notifier: &EventNotifier) {
        if control.is_armed() {
            // KVM has injected what it has.
            let _ = notifier.consume();
        } else {
            // Here and not only in the next signal: until that is written, another thread may look.
            self.keep_uninjected_signal(control);
        }
    }

    /// Lets triggers through to the vector's own notifier, now that it is bound, and delivers what
    /// was kept. Returns whether that has become an interrupt.
    pub(in crate::vector) fn deliver_pending(&self, control: MutexGuard<'_, Control>) -> bool {
        match self.outlet.kind() {
            Kind::Own => {
                let kept = self.gate.open();
                drop(control);
                // An eventfd that nothing else writes to takes it.
                kept.is_some_and(|pass| is_delivered(&self.inject(pass)))
            }
            Kind::Shared if control.is_armed() && self.gate.is_pending() => {
                self.deliver_kept(control)
            }
            _ => false,
        }
    }

    /// Signals a notifier that was handed out, for the pending bit.
    ///
    /// The write is made without the lock, because a peer may block it. Meanwhile the bit is gone
    /// and the delivery is counted, so that a snapshot has the signal at each moment. If the vector
    /// is masked, paused or blocked before the write, the signal stays in the notifier. If it is
    /// after the write, KVM has injected it. So one interrupt comes of it. A snapshot that is taken
    /// while the write is under way may have it as well.
    fn deliver_kept(&self, mut control: MutexGuard<'_, Control>) -> bool {
        let Some(notifier) = self.outlet.shared() else {
            return false;
        };
        self.make_room(&control, &notifier);
        if !self.gate.take_pending() {
            return false;
        }
        control.deliveries += 1;
        drop(control);
        // For loom a call of the kernel belongs to the step before it.
        #[cfg(loom)]
        crate::sync::thread::yield_now();
        let signalled = signal_anew(&notifier);
        let mut control = self.control.lock();
        control.deliveries -= 1;
        if signalled.is_err() {
            self.gate.keep();
        }
        signalled.is_ok()
    }
}

/// Signals the notifier in which a queue without a vector holds its signals, and which a peer may
/// have filled and made blocking. Call it without a lock.
pub(crate) fn signal_holding(notifier: &Arc<EventNotifier>) -> Result<(), notify_core::Error> {
    notifier.consume()?;
    signal_anew(notifier)
}

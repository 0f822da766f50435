// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Slot`]: which thread has a handler, and what becomes of it afterwards.
//!
//! A handler is in its slot, or with the one thread that took it out. That is mostly the thread
//! that runs the dispatcher, to call it, or one that removes or pauses it, to clean up. So no lock
//! is held while code of a handler runs. A thread that wants it out meanwhile writes that into the
//! slot, and waits. Nothing here knows mio or eventfds, so that loom can explore it.

mod request;

use std::mem;
use std::num::NonZeroU64;
use std::sync::PoisonError;

use super::Error;
use super::sync::{Condvar, Mutex, MutexGuard, ThreadId};

pub(crate) use request::Taken;

/// The signals that a slot is for.
///
/// All are called with the slot locked, so that they and its state change as one. None of them
/// writes the notifier, since a peer that fills the counter can block a write.
pub(crate) trait Signals {
    /// Starts to watch: from now on a signal causes a call of the handler, and so does one from
    /// before.
    ///
    /// # Errors
    ///
    /// If the signals cannot be watched.
    fn watch(&self) -> Result<(), Error>;

    /// Stops watching: a signal causes no call any more.
    fn unwatch(&self);

    /// Makes a signal that is there cause a call once more.
    fn watch_again(&self);

    /// Returns whether a signal may still be there after a call, so that it must cause another
    /// call.
    fn stays_ready(&self) -> bool;

    /// Takes the signals that are there.
    ///
    /// # Errors
    ///
    /// If the signals cannot be read; they are still there then.
    fn take(&self) -> Result<Option<NonZeroU64>, Error>;
}

/// A place for one handler.
#[derive(Debug)]
pub(crate) struct Slot<S, H> {
    pub(super) signals: S,
    inner: Mutex<Inner<H>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Inner<H> {
    state: State<H>,
    kicks: Kicks,
    /// How often the handler came back.
    returns: u64,
    /// How many threads wait for a change.
    waiting: u32,
}

#[derive(Debug)]
enum State<H> {
    /// Here, and to be called at the next signal. The signals are watched.
    Ready(H),
    /// With this thread, which will do `then`. The signals are watched if that is `Ready`.
    Out { with: ThreadId, then: Then },
    /// Here, and not to be called.
    Paused(H),
    /// Removed.
    Gone,
}

/// What becomes of a handler that comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Ready,
    /// A signal came while it was out for other reasons than to be called.
    Missed,
    Pause,
    Remove,
}

/// The last request to the handler's peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kicks {
    /// Signal when there is work.
    Wanted,
    /// No need to signal: the handler is polled.
    Suppressed,
    /// Signal again. What came shortly before has no signal, and the handler has not finished
    /// looking for it since: a look is due.
    WantedAgain,
}

impl Kicks {
    /// Whether there may be work without a signal.
    pub(crate) fn look_due(self) -> bool {
        self != Self::Wanted
    }
}

/// What the thread that had the handler out has to do next.
#[derive(Debug)]
#[must_use]
pub(crate) enum GivenBack<H> {
    /// Nothing.
    Kept,
    /// Pause the handler while a look is due.
    ///
    /// Let the peer signal again, leave the look in the counter, then give the handler back once
    /// more with [`Kicks::Wanted`].
    EndPolling(H),
    /// Let the peer signal again, drop the handler, leave a look that is due in the counter, then
    /// call [`Slot::mark_dropped`].
    Drop(H),
}

impl<S: Signals, H> Slot<S, H> {
    /// A slot with a handler whose signals are watched.
    pub(crate) fn new(signals: S, handler: H) -> Self {
        Self {
            signals,
            inner: Mutex::new(Inner {
                state: State::Ready(handler),
                kicks: Kicks::Wanted,
                returns: 0,
                waiting: 0,
            }),
            changed: Condvar::new(),
        }
    }

    /// Takes the handler out to call it, and returns the last request to its peer. `None` if it is
    /// not to be called now.
    pub(crate) fn take_out(&self, with: ThreadId) -> Option<(H, Kicks)> {
        let mut inner = self.lock();
        let out = State::Out {
            with,
            then: Then::Ready,
        };
        match mem::replace(&mut inner.state, out) {
            State::Ready(handler) => return Some((handler, inner.kicks)),
            State::Out {
                with,
                then: Then::Ready,
            } => {
                let then = Then::Missed;
                inner.state = State::Out { with, then };
            }
            other => inner.state = other,
        }
        None
    }

    /// Notes that the peer of a handler that is out need not signal soon. From now on a look is due
    /// when the handler is removed or paused.
    pub(crate) fn mark_suppressed(&self) {
        self.lock().kicks = Kicks::Suppressed;
    }

    /// Whether the handler, which is out, is to be paused or removed when it is given back.
    pub(crate) fn is_leaving(&self) -> bool {
        let state = &self.lock().state;
        matches!(state, State::Out { then, .. } if matches!(then, Then::Pause | Then::Remove))
    }

    /// Gives the handler back, with the last request to its peer.
    pub(crate) fn give_back(&self, handler: H, kicks: Kicks) -> GivenBack<H> {
        let mut inner = self.lock();
        inner.kicks = kicks;
        inner.state = match inner.state {
            State::Out { then, .. } => match then {
                Then::Pause if kicks.look_due() => return GivenBack::EndPolling(handler),
                Then::Pause => State::Paused(handler),
                Then::Ready | Then::Missed => {
                    if then == Then::Missed || self.signals.stays_ready() {
                        self.signals.watch_again();
                    }
                    State::Ready(handler)
                }
                Then::Remove => return GivenBack::Drop(handler),
            },
            // Only the thread that has the handler gives it back.
            _ => return GivenBack::Drop(handler),
        };
        self.count_return(&mut inner);
        GivenBack::Kept
    }

    /// Marks the handler, which is out, as failed: it will be dropped. Returns false if it is being
    /// removed anyway: then what is pending is for the thread that removes it.
    pub(crate) fn mark_failed(&self) -> bool {
        let mut inner = self.lock();
        let State::Out { then, .. } = &mut inner.state else {
            return false;
        };
        match mem::replace(then, Then::Remove) {
            Then::Ready | Then::Missed => self.signals.unwatch(),
            Then::Pause => {}
            Then::Remove => return false,
        }
        true
    }

    /// Marks the handler as gone: it was dropped, and a look that was due is in the counter.
    pub(crate) fn mark_dropped(&self) {
        let mut inner = self.lock();
        inner.state = State::Gone;
        inner.kicks = Kicks::Wanted;
        self.count_return(&mut inner);
    }

    fn lock(&self) -> MutexGuard<'_, Inner<H>> {
        // No code of a handler runs with the lock held, so no panic leaves the state half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_return(&self, inner: &mut Inner<H>) {
        inner.returns = inner.returns.wrapping_add(1);
        // A notification costs a system call, also if no thread waits.
        if inner.waiting > 0 {
            self.changed.notify_all();
        }
    }
}

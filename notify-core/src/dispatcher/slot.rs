// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Slot`]: who has a handler, and what becomes of it afterwards.
//!
//! A handler is in its slot, or with the one thread that took it out: mostly the one that runs the
//! dispatcher, to call it; or one that removes or pauses it, to clean up. So no lock is held while
//! code of a handler runs. A thread that wants it out meanwhile says so in the slot, and waits.
//! Nothing here knows mio or eventfds, so that loom can explore it.

use std::mem;
use std::num::NonZeroU64;
use std::sync::PoisonError;

use super::Error;
use super::sync::{Condvar, Mutex, MutexGuard, ThreadId, me};

/// The signals that a slot is for.
///
/// All are called with the slot locked, so that they and its state change as one. None of them
/// writes the notifier, since a peer that fills the counter can block a write.
pub trait Signals {
    /// From now on a signal leads to the slot. One that is there already leads there at once.
    ///
    /// # Errors
    ///
    /// Where they cannot be watched; then they are not.
    fn watch(&self) -> Result<(), Error>;

    /// No signal leads to the slot any more.
    fn unwatch(&self);

    /// If there is a signal, it leads to the slot once more.
    fn watch_again(&self);

    /// Whether a signal may still be there after the handler was called for it. Then it leads to
    /// the slot once more.
    fn stays_ready(&self) -> bool;

    /// Takes the signals that are there.
    ///
    /// # Errors
    ///
    /// Where they cannot be read; then they are still there.
    fn take(&self) -> Result<Option<NonZeroU64>, Error>;
}

/// A place for one handler.
#[derive(Debug)]
pub struct Slot<S, H> {
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

/// What the handler's peer was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kicks {
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
    pub fn look_due(self) -> bool {
        self != Self::Wanted
    }
}

/// What the thread that had the handler out has to do next.
#[derive(Debug)]
#[must_use]
pub enum Left<H> {
    /// Nothing.
    Back,
    /// The handler is to be paused while a look is due: let the peer signal again, leave the look
    /// in the counter, then leave the handler once more with [`Kicks::Wanted`].
    Settle(H),
    /// Let the peer signal again, drop the handler, leave a look that is due in the counter, then
    /// call [`Slot::finish`].
    Drop(H),
}

/// What a request to pause or to remove came to.
#[derive(Debug)]
#[must_use]
pub enum Taken<H> {
    /// The caller has the handler, whose peer was told this, and leaves it as if it had been called.
    Handler(H, Kicks),
    /// Done: what is pending is the caller's to [take](Slot::pending). If the handler is in a call
    /// further up the caller's own stack, that is its last.
    Done,
    /// Somebody else has removed it, and it does not run.
    Gone,
}

impl<S: Signals, H> Slot<S, H> {
    /// A slot with a handler whose signals are watched.
    pub fn new(signals: S, handler: H) -> Self {
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

    /// Takes the handler out to call it, and says what its peer was told. `None` if it is not to be
    /// called now.
    pub fn enter(&self, with: ThreadId) -> Option<(H, Kicks)> {
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

    /// The peer of a handler that is out is about to be told that it need not signal: from now on a
    /// look is due when it is removed or paused.
    pub fn suppressed(&self) {
        self.lock().kicks = Kicks::Suppressed;
    }

    /// Gives the handler back, and says what its peer has been told by now.
    pub fn leave(&self, handler: H, kicks: Kicks) -> Left<H> {
        let mut inner = self.lock();
        inner.kicks = kicks;
        inner.state = match inner.state {
            State::Out { then, .. } => match then {
                Then::Pause if kicks.look_due() => return Left::Settle(handler),
                Then::Pause => State::Paused(handler),
                Then::Ready | Then::Missed => {
                    if then == Then::Missed || self.signals.stays_ready() {
                        self.signals.watch_again();
                    }
                    State::Ready(handler)
                }
                Then::Remove => return Left::Drop(handler),
            },
            // Only whoever has the handler ends its being out.
            _ => return Left::Drop(handler),
        };
        self.returned(&mut inner);
        Left::Back
    }

    /// Gives the handler up before it is dropped, because it failed. Returns false if it is being
    /// removed anyway: then what is pending is for the thread that removes it.
    pub fn abandon(&self) -> bool {
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

    /// The handler was dropped, and a look that was due is in the counter.
    pub fn finish(&self) {
        let mut inner = self.lock();
        inner.state = State::Gone;
        inner.kicks = Kicks::Wanted;
        self.returned(&mut inner);
    }

    /// Makes a paused handler, or one that is about to be paused, ready again. Answers false if it was
    /// removed.
    pub fn resume(&self) -> Result<bool, Error> {
        let mut inner = self.lock();
        if matches!(
            inner.state,
            State::Paused(_)
                | State::Out {
                    then: Then::Pause,
                    ..
                }
        ) {
            self.signals.watch()?;
        }
        inner.state = match mem::replace(&mut inner.state, State::Gone) {
            State::Paused(handler) => State::Ready(handler),
            State::Out {
                with,
                then: Then::Pause,
            } => {
                let then = Then::Ready;
                State::Out { with, then }
            }
            other => other,
        };
        Ok(!matches!(
            inner.state,
            State::Gone
                | State::Out {
                    then: Then::Remove,
                    ..
                }
        ))
    }

    /// Keeps the handler from being called. If another thread is calling it, waits until it returns.
    pub fn pause(&self) -> Taken<H> {
        self.take(Then::Pause)
    }

    /// Takes the handler out for good. If another thread is calling it, waits until it is dropped.
    pub fn remove(&self) -> Taken<H> {
        self.take(Then::Remove)
    }

    fn take(&self, wish: Then) -> Taken<H> {
        let mut inner = self.lock();
        let kicks = inner.kicks;
        let mine = State::Out {
            with: me(),
            then: wish,
        };
        let (with, before) = match mem::replace(&mut inner.state, mine) {
            State::Ready(handler) => {
                self.signals.unwatch();
                return Taken::Handler(handler, kicks);
            }
            State::Paused(handler) if wish == Then::Remove => {
                return Taken::Handler(handler, kicks);
            }
            State::Out { with, then } => (with, then),
            other => {
                inner.state = other;
                return inner.outcome();
            }
        };
        let then = match before {
            Then::Remove => before,
            _ => wish,
        };
        inner.state = State::Out { with, then };
        if matches!(before, Then::Ready | Then::Missed) {
            self.signals.unwatch();
        }
        let returns = inner.returns;
        match (before, then) {
            (Then::Remove, _) if with == me() => return Taken::Gone,
            _ if with == me() => return Taken::Done,
            (_, Then::Remove) => inner = self.wait(inner, |inner| inner.is_gone()),
            _ => inner = self.wait(inner, |inner| inner.returns != returns),
        }
        if wish == Then::Remove && before != Then::Remove {
            return Taken::Done;
        }
        inner.outcome()
    }

    /// What a pause of the caller's came to, after it has left the handler.
    pub fn paused(&self) -> Taken<H> {
        self.lock().outcome()
    }

    /// Takes what is pending after a pause or a removal of the caller's.
    ///
    /// In the handler's own call that is one at least if a look is due: the look is left in the
    /// counter, but only after that call.
    ///
    /// # Errors
    ///
    /// If the signals cannot be read; then they are still there.
    pub fn pending(&self) -> Result<Option<NonZeroU64>, Error> {
        let inner = self.lock();
        let own_look = match inner.state {
            State::Gone | State::Paused(_) => None,
            State::Out { with, .. } if with == me() => {
                inner.kicks.look_due().then_some(NonZeroU64::MIN)
            }
            // Another thread has resumed the handler, which handles what is signalled.
            State::Ready(_) | State::Out { .. } => return Ok(None),
        };
        Ok(self.signals.take()?.max(own_look))
    }

    fn lock(&self) -> MutexGuard<'_, Inner<H>> {
        // No code of others runs with the lock held, so nobody leaves anything half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn returned(&self, inner: &mut Inner<H>) {
        inner.returns = inner.returns.wrapping_add(1);
        // Telling nobody costs a system call.
        if inner.waiting > 0 {
            self.changed.notify_all();
        }
    }

    fn wait<'a>(
        &self,
        mut inner: MutexGuard<'a, Inner<H>>,
        until: impl Fn(&Inner<H>) -> bool,
    ) -> MutexGuard<'a, Inner<H>> {
        inner.waiting += 1;
        while !until(&inner) {
            inner = self
                .changed
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner);
        }
        inner.waiting -= 1;
        inner
    }
}

impl<H> Inner<H> {
    fn is_gone(&self) -> bool {
        matches!(self.state, State::Gone)
    }

    fn outcome(&self) -> Taken<H> {
        match self.state {
            State::Gone => Taken::Gone,
            State::Paused(_) | State::Ready(_) | State::Out { .. } => Taken::Done,
        }
    }
}

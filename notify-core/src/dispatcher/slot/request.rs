// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What other threads ask of a [`Slot`]: to pause, to resume or to remove its handler.

use std::mem;
use std::num::NonZeroU64;
use std::sync::PoisonError;

use super::{Inner, Kicks, Signals, Slot, State, Then};
use crate::dispatcher::Error;
use crate::dispatcher::sync::{MutexGuard, me};

/// The result of a request to pause or to remove.
#[derive(Debug)]
#[must_use]
pub(crate) enum Taken<H> {
    /// The caller has the handler, with the last request to its peer, and gives it back as if it
    /// had been called.
    Handler(H, Kicks),
    /// Done: what is pending is the caller's to [take](Slot::take_pending). If the handler is in a
    /// call further up the caller's own stack, that is its last.
    Done,
    /// Another thread has removed it, and it does not run.
    Gone,
}

impl<S: Signals, H> Slot<S, H> {
    /// Makes a paused handler, or one that is about to be paused, ready again. Returns false if it
    /// was removed.
    pub(crate) fn resume(&self) -> Result<bool, Error> {
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

    /// Keeps the handler from being called. Blocks until another thread that is calling it has
    /// returned.
    pub(crate) fn pause(&self) -> Taken<H> {
        self.take_for(Then::Pause)
    }

    /// Takes the handler out for good. Blocks until another thread that is calling it has dropped
    /// it.
    pub(crate) fn remove(&self) -> Taken<H> {
        self.take_for(Then::Remove)
    }

    fn take_for(&self, wish: Then) -> Taken<H> {
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

    /// Returns the result of a pause, after the caller has given the handler back.
    pub(crate) fn outcome(&self) -> Taken<H> {
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
    pub(crate) fn take_pending(&self) -> Result<Option<NonZeroU64>, Error> {
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

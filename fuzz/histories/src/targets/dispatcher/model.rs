// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`World`]: the model, and which thread has the baton.

use std::collections::VecDeque;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use notify_core::EventNotifier;
use notify_core::dispatcher::{Dispatcher, DispatcherHandle, Token};

use super::baton::{Place, THREADS, Thread};
use super::step::{Act, How, Moment, Step};

/// Sources: those with an even number belong to dispatcher 0, the others to dispatcher 1.
pub(super) const COUNTERS: usize = 4;
pub(super) const SEMAPHORES: usize = 2;
pub(super) const SOURCES: usize = COUNTERS + SEMAPHORES + 2;

/// The most handlers that are not gone.
pub(super) const HANDLERS: usize = 10;

/// The calls in a turn of dispatcher 1.
pub(super) const CALLS: u32 = 2;

pub(super) struct World {
    pub(super) steps: VecDeque<Step>,
    /// The step that is next, and its thread.
    pub(super) next: Option<(usize, Act)>,
    pub(super) turn: usize,
    pub(super) threads: [Thread; THREADS],
    /// Grows with everything that happens.
    pub(super) progress: u64,
    pub(super) is_over: bool,
    pub(super) failure: Option<String>,
    pub(super) sources: Vec<Source>,
    pub(super) handlers: Vec<Entry>,
    pub(super) dispatchers: [Side; 2],
    /// How far the end of the history has come.
    pub(super) ending: usize,
}

/// What can have a handler.
pub(super) struct Source {
    pub(super) kind: SourceKind,
    /// The signals, or the bytes that are not read.
    pub(super) count: u64,
    /// If there is no signal, the dispatcher may have left one, for a look that was due.
    pub(super) may_have_one: bool,
    /// Whether the peer has closed the socket.
    pub(super) is_hung_up: bool,
}

pub(super) enum SourceKind {
    Notifier(Arc<EventNotifier>),
    Socket(Arc<UnixStream>, Option<UnixStream>),
}

/// A dispatcher.
pub(super) struct Side {
    pub(super) dispatcher: Option<Arc<Dispatcher>>,
    pub(super) handle: DispatcherHandle,
    /// How many there were before.
    pub(super) generation: usize,
    pub(super) stop: bool,
    pub(super) run: Option<Run>,
    /// Whether it has had a handler that can be polled: then the clock has an influence.
    pub(super) has_polled: bool,
}

/// A run of a dispatcher.
pub(super) struct Run {
    pub(super) by: usize,
    pub(super) kind: RunKind,
    /// The handlers that were called for signals.
    pub(super) calls: Vec<usize>,
    /// Whether the callback for failures has panicked.
    pub(super) has_panicked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunKind {
    Turn,
    Poll,
    UntilStopped,
}

/// A handler.
pub(super) struct Entry {
    pub(super) side: usize,
    pub(super) generation: usize,
    pub(super) handle: DispatcherHandle,
    pub(super) source: usize,
    pub(super) token: Option<Token>,
    pub(super) is_polled: bool,
    pub(super) state: State,
    pub(super) armed: Option<Moment>,
    /// The work in its ring, and how much of it is done.
    pub(super) work: (u64, u64),
    /// Whether its peer need not signal.
    pub(super) is_suppressed: bool,
    /// Whether it was ever polled.
    pub(super) has_begun: bool,
    /// The thread that will end its polling, although it has been paused.
    pub(super) ends_on: Option<usize>,
    /// How it failed, and whether what is pending is for the callback.
    pub(super) failed: Option<(How, bool)>,
    /// The signals of the call that failed.
    pub(super) signalled: Option<u64>,
    /// Whether its drop or the end of its polling has panicked.
    pub(super) has_panicked: bool,
    /// Whether the end of its polling has.
    pub(super) has_end_panicked: bool,
    /// Whether it was ready when the turn began, and has been since.
    pub(super) is_waiting: bool,
    /// How many turns in a row did not call it.
    pub(super) missed: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Ready,
    /// With a thread, and what becomes of it then.
    Out(usize, Then),
    Paused,
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Ready,
    Pause,
    Remove,
}

impl World {
    pub(super) fn fail(&mut self, why: impl Into<String>) {
        self.failure.get_or_insert(why.into());
        self.is_over = true;
    }

    pub(super) fn check(&mut self, holds: bool, why: impl FnOnce() -> String) {
        if !holds {
            self.fail(why());
        }
    }

    /// Whether the handler is to be called.
    pub(super) fn is_due(&self, handler: usize) -> bool {
        let entry = &self.handlers[handler];
        let source = &self.sources[entry.source];
        entry.state == State::Ready && (source.count > 0 || source.is_hung_up)
    }

    pub(super) fn of_side(&self, side: usize) -> Vec<usize> {
        let generation = self.dispatchers[side].generation;
        let all = 0..self.handlers.len();
        all.filter(|handler| {
            let entry = &self.handlers[*handler];
            (entry.side, entry.generation) == (side, generation) && entry.state != State::Gone
        })
        .collect()
    }

    /// Whether the thread that runs the dispatcher has something to do.
    pub(super) fn is_side_due(&self, side: usize) -> bool {
        let due = || self.of_side(side).into_iter().any(|one| self.is_due(one));
        self.dispatchers[side].stop || due()
    }

    pub(super) fn is_out(&self, handler: usize) -> bool {
        matches!(self.handlers[handler].state, State::Out(..))
    }

    /// The handler that is called for signals of the source.
    pub(super) fn watcher(&self, source: usize) -> Option<usize> {
        let all = 0..self.handlers.len();
        all.rev().find(|handler| {
            let entry = &self.handlers[*handler];
            let watches = matches!(entry.state, State::Ready | State::Out(_, Then::Ready));
            entry.source == source && watches
        })
    }

    /// Whether another handler of the same source is being called.
    pub(super) fn is_other_out(&self, source: usize, handler: Option<usize>) -> bool {
        (0..self.handlers.len()).any(|other| {
            Some(other) != handler && self.handlers[other].source == source && self.is_out(other)
        })
    }

    /// The peer of a handler was asked to signal again: a look is left in the counter.
    pub(super) fn leave_look(&mut self, handler: usize, is_certain: bool) {
        let entry = &self.handlers[handler];
        let has_begun = entry.has_begun;
        let source = &mut self.sources[entry.source];
        if is_certain {
            source.count = source.count.max(1);
        } else if has_begun && source.count == 0 {
            source.may_have_one = true;
        }
    }

    /// The signals of a source were taken.
    pub(super) fn take(&mut self, source: usize, taken: Option<u64>, what: &str) {
        let of = &mut self.sources[source];
        if matches!(of.kind, SourceKind::Socket(..)) {
            return self.check(taken.is_none(), || format!("{what}: {taken:?} of a socket"));
        }
        let (count, may_have_one) = (of.count, of.may_have_one);
        (of.count, of.may_have_one) = (0, false);
        let taken = taken.unwrap_or(0);
        let is_right = taken == count || may_have_one && (count, taken) == (0, 1);
        self.check(is_right, || format!("{what}: {taken} signals, not {count}"));
        if taken > 0 {
            self.see_work(source);
        }
    }

    /// The signals of a source are handled: the work that they are for is seen.
    pub(super) fn see_work(&mut self, source: usize) {
        for entry in self.handlers.iter_mut().filter(|one| one.source == source) {
            entry.work.1 = entry.work.0;
        }
    }

    /// A handler is given back, after a call.
    pub(super) fn give_back(&mut self, handler: usize) {
        let entry = &mut self.handlers[handler];
        let State::Out(by, then) = entry.state else {
            return self.fail(format!("handler {handler} is not out"));
        };
        entry.state = match then {
            Then::Ready => State::Ready,
            Then::Pause => State::Paused,
            // Its drop is next.
            Then::Remove => entry.state,
        };
        if then != Then::Ready {
            match entry.is_suppressed {
                true => entry.ends_on = Some(by),
                false => self.leave_look(handler, false),
            }
        }
        self.wake(handler);
    }

    /// A handler failed in a call.
    pub(super) fn note_failure(&mut self, handler: usize, how: How, in_poll: bool) {
        let entry = &mut self.handlers[handler];
        let State::Out(by, then) = entry.state else {
            return self.fail(format!("handler {handler} is not out"));
        };
        entry.failed = Some((how, then != Then::Remove));
        entry.state = State::Out(by, Then::Remove);
        if how == How::Panics && (entry.is_suppressed || in_poll) {
            self.leave_look(handler, true);
        } else if !entry.is_suppressed {
            self.leave_look(handler, false);
        }
    }

    /// Wakes the threads that have waited until the handler came back.
    pub(super) fn wake(&mut self, handler: usize) {
        let state = self.handlers[handler].state;
        for thread in &mut self.threads {
            let Some(wait) = thread.wait.filter(|wait| wait.handler == handler) else {
                continue;
            };
            let is_back = match state {
                State::Gone => true,
                State::Ready | State::Paused => !wait.until_gone,
                State::Out(..) => false,
            };
            if is_back && thread.place == Place::Blocked {
                thread.place = Place::Expected;
            }
        }
    }
}

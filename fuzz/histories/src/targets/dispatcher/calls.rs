// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The calls of handlers and of the callback for failures, beside the model.

use std::io::Read;
use std::num::NonZeroU64;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use notify_core::dispatcher::{Failure, Readiness, Reason};

use super::baton::{Activity, Baton, me};
use super::model::{COUNTERS, RunKind, SourceKind, State, Then, World};
use super::step::{How, Moment};

impl Baton {
    /// A call begins. Returns false if the history is over.
    fn begin(&self, me: usize, note: impl FnOnce(&mut World)) -> bool {
        let world = self.arrive_with(me, |world| {
            note(world);
            world.threads[me].stack.push(Activity::Call);
        });
        !world.is_over
    }

    /// The steps go on inside a call.
    fn inside(self: &Arc<Self>, me: usize) -> How {
        let how = self.drive(me);
        self.lock().threads[me].stack.pop();
        how
    }

    /// A handler is called for signals; a socket has none.
    pub(super) fn handle(self: &Arc<Self>, handler: usize, signalled: Option<NonZeroU64>) -> How {
        let me = me();
        let signalled = signalled.map(NonZeroU64::get);
        if !self.begin(me, |world| world.begin_call(me, handler, signalled)) {
            return How::Fine;
        }
        let how = self.inside(me);
        let mut world = self.lock();
        world.handlers[handler].signalled = signalled;
        self.give_back(world, me, handler, how, false);
        how
    }

    fn give_back(
        &self,
        mut world: super::baton::Guard<'_>,
        me: usize,
        handler: usize,
        how: How,
        in_poll: bool,
    ) {
        if world.is_over {
            return;
        }
        match how {
            How::Fine => world.give_back(handler),
            How::Fails | How::Panics => world.note_failure(handler, how, in_poll),
        }
        // If its drop is next, there is something to do.
        if !world.is_out(handler) {
            self.leave(world, me);
        }
    }

    /// A call without a step, unless it is armed.
    pub(super) fn moment(self: &Arc<Self>, handler: usize, moment: Moment) -> How {
        let me = me();
        let mut world = self.lock();
        world.progress += 1;
        if world.is_over || !world.begin_moment(me, handler, moment) {
            return How::Fine;
        }
        world.threads[me].stack.push(Activity::Call);
        drop(world);
        let how = match (self.inside(me), moment) {
            (How::Fails, Moment::Begin | Moment::End) => How::Fine,
            (how, _) => how,
        };
        let mut world = self.lock();
        if moment == Moment::End {
            world.end_polling(handler);
        }
        let is_run = matches!(world.threads[me].stack.last(), Some(Activity::Run(..)));
        match is_run {
            true => {
                world.handlers[handler].signalled = None;
                self.give_back(world, me, handler, how, true);
            }
            false => world.end_own_polling(handler, how),
        }
        how
    }

    /// A handler is dropped.
    pub(super) fn dropped(self: &Arc<Self>, handler: usize) -> How {
        let me = me();
        if self.lock().handlers[handler].state == State::Gone {
            return How::Fine; // it was rejected
        }
        if !self.begin(me, |world| world.begin_drop(me, handler)) {
            return How::Fine;
        }
        let how = match self.inside(me) {
            How::Panics if !std::thread::panicking() => How::Panics,
            _ => How::Fine,
        };
        let mut world = self.lock();
        let entry = &mut world.handlers[handler];
        (entry.state, entry.is_suppressed) = (State::Gone, false);
        entry.has_panicked |= how == How::Panics;
        let is_reported = entry.failed.is_some() && entry.side == 1;
        world.wake(handler);
        if !is_reported {
            self.leave(world, me);
        }
        how
    }

    /// The callback for a handler that failed.
    pub(super) fn failed(self: &Arc<Self>, side: usize, failure: Failure) -> How {
        let me = me();
        if !self.begin(me, |world| world.begin_failure(me, failure)) {
            return How::Fine;
        }
        let how = self.inside(me);
        let mut world = self.lock();
        if how == How::Panics
            && let Some(run) = &mut world.dispatchers[side].run
        {
            run.has_panicked = true;
            return how;
        }
        self.leave(world, me);
        How::Fine
    }
}

impl World {
    fn begin_call(&mut self, me: usize, handler: usize, signalled: Option<u64>) {
        let entry = &mut self.handlers[handler];
        let (state, of) = (entry.state, entry.source);
        entry.state = State::Out(me, Then::Ready);
        (entry.armed, entry.is_waiting, entry.missed) = (None, false, 0);
        let side = entry.side;
        let is_stopped = self.dispatchers[side].stop;
        let is_current = entry.generation == self.dispatchers[side].generation;
        let run = self.dispatchers[side]
            .run
            .as_mut()
            .filter(|run| run.by == me);
        let Some(run) = run.filter(|_| is_current && state == State::Ready) else {
            return self.fail(format!("handler {handler} is called, but it is {state:?}"));
        };
        let again = run.kind != RunKind::UntilStopped && run.calls.contains(&handler);
        run.calls.push(handler);
        self.see_work(of);
        let source = &mut self.sources[of];
        let (count, is_hung_up) = (source.count, source.is_hung_up);
        let expected = match &source.kind {
            SourceKind::Notifier(_) if of < COUNTERS => Some(std::mem::take(&mut source.count)),
            SourceKind::Notifier(_) => {
                source.count = count.saturating_sub(1);
                Some(count.min(1))
            }
            SourceKind::Socket(..) => {
                source.count = count.saturating_sub(1);
                None
            }
        };
        self.check(signalled == expected, || {
            format!("handler {handler}: {signalled:?} signals, not {expected:?}")
        });
        self.check(count > 0 || is_hung_up, || {
            format!("handler {handler} has no signal")
        });
        self.check(!is_stopped, || {
            format!("handler {handler} is called after a stop")
        });
        self.check(!again, || {
            format!("handler {handler} is called twice in a turn")
        });
    }

    /// The handler of a socket reads one byte.
    pub(super) fn ready(&mut self, handler: usize, ready: Readiness, socket: &UnixStream) {
        if self.is_over {
            return;
        }
        let source = &self.sources[self.handlers[handler].source];
        let (count, is_hung_up) = (source.count, source.is_hung_up);
        let mut byte = [0];
        let read = (&mut &*socket).read(&mut byte).ok();
        let expected = match (count, is_hung_up) {
            (1.., _) => Some(1),
            (0, true) => Some(0),
            (0, false) => None,
        };
        self.check(read == expected, || {
            format!("{read:?} read, not {expected:?}")
        });
        let is_right = ready.is_readable() && (is_hung_up || !ready.is_hung_up());
        self.check(is_right && !ready.is_error(), || format!("{ready:?}"));
    }

    /// Whether a poll of the handler finds work, which it does.
    pub(super) fn serve(&mut self, handler: usize) -> bool {
        let work = &mut self.handlers[handler].work;
        let done = std::mem::replace(&mut work.1, work.0);
        done != work.0
    }

    /// Whether the steps go on inside it.
    fn begin_moment(&mut self, me: usize, handler: usize, moment: Moment) -> bool {
        let entry = &mut self.handlers[handler];
        let may_be = match entry.state {
            State::Ready => true,
            State::Out(by, _) => by == me,
            State::Paused => moment == Moment::End && entry.ends_on == Some(me),
            State::Gone => false,
        };
        let was_suppressed = entry.is_suppressed;
        let is_right = match moment {
            Moment::Begin => !was_suppressed,
            Moment::End => was_suppressed,
            Moment::Poll => true,
        };
        if moment == Moment::Begin {
            (entry.is_suppressed, entry.has_begun) = (true, true);
        }
        let state = entry.state;
        let holds = entry.armed == Some(moment) && self.turn == me;
        if holds {
            entry.armed = None;
            if state == State::Ready {
                entry.state = State::Out(me, Then::Ready);
            }
        } else if moment == Moment::End {
            self.end_polling(handler);
        }
        self.check(may_be && is_right, || {
            format!("{moment:?} of handler {handler}: {state:?}, suppressed: {was_suppressed}")
        });
        holds
    }

    /// The peer signals again, and a look is left if the handler is not called any more.
    fn end_polling(&mut self, handler: usize) {
        let entry = &mut self.handlers[handler];
        entry.is_suppressed = false;
        let ends = entry.ends_on.take().is_some();
        if ends || matches!(entry.state, State::Out(_, Then::Pause | Then::Remove)) {
            self.leave_look(handler, true);
        }
    }

    /// The end of polling, as a part of a pause or a removal by the same thread.
    fn end_own_polling(&mut self, handler: usize, how: How) {
        if self.is_over {
            return;
        }
        // Also if another thread has resumed it meanwhile.
        self.leave_look(handler, true);
        let entry = &mut self.handlers[handler];
        let State::Out(by, _) = entry.state else {
            return self.fail(format!("handler {handler} is not out"));
        };
        if how == How::Panics {
            (entry.has_panicked, entry.has_end_panicked) = (true, true);
            entry.state = State::Out(by, Then::Remove);
        } else {
            self.give_back(handler);
        }
    }

    fn begin_drop(&mut self, me: usize, handler: usize) {
        let entry = &mut self.handlers[handler];
        let state = entry.state;
        let is_dropped_whole = self.dispatchers[entry.side].dispatcher.is_none();
        entry.state = State::Out(me, Then::Remove);
        let may_be = state == State::Out(me, Then::Remove)
            || is_dropped_whole && matches!(state, State::Ready | State::Paused);
        // The end of a polling that panicked is not repeated.
        let panicked = entry.has_panicked || matches!(entry.failed, Some((How::Panics, _)));
        let is_right = may_be && (panicked || !entry.is_suppressed);
        self.check(is_right, || {
            format!("handler {handler} is dropped, but it is {state:?}")
        });
        if is_dropped_whole {
            self.leave_look(handler, false);
        }
    }

    fn begin_failure(&mut self, me: usize, failure: Failure) {
        let token = Some(failure.token);
        let is_it = |entry: &super::model::Entry| entry.token == token;
        let Some(handler) = self.handlers.iter().rposition(is_it) else {
            return self.fail("an unknown handler failed");
        };
        let entry = &mut self.handlers[handler];
        let Some((how, is_pending)) = entry.failed.take() else {
            return self.fail(format!("handler {handler} did not fail: {failure:?}"));
        };
        let reason = match failure.reason {
            Reason::Error(_) => How::Fails,
            _ => How::Panics,
        };
        let (source, side) = (entry.source, entry.side);
        let signalled = failure.signalled.map(NonZeroU64::get);
        let is_right = reason == how && signalled == entry.signalled;
        let runs = self.dispatchers[side]
            .run
            .as_ref()
            .is_some_and(|run| run.by == me);
        self.check(is_right && runs, || {
            format!("handler {handler}: {signalled:?}, {reason:?}")
        });
        let pending = failure.pending.map(NonZeroU64::get);
        match is_pending {
            true => self.take(source, pending, "failure"),
            false => self.check(pending.is_none(), || "pending signals of a removal".into()),
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Runs of a dispatcher, and its drop.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use notify_core::dispatcher::{Error, Turn};

use super::baton::{Activity, Baton, Guard, Place};
use super::handlers;
use super::model::{CALLS, Run, RunKind, State, World};

/// How many turns in a row may not call a handler that is ready, if there are few calls in a turn.
const MISSED: u32 = 16;

/// What a run returned, or panicked with.
type Ran = Result<Result<Turn, Error>, Box<dyn Any + Send>>;

impl Baton {
    /// Runs a dispatcher.
    pub(super) fn run_side(
        self: &Arc<Self>,
        mut world: Guard<'_>,
        me: usize,
        side: usize,
        kind: RunKind,
    ) {
        let Some(dispatcher) = world.dispatchers[side].dispatcher.clone() else {
            return;
        };
        let is_due = world.is_side_due(side);
        let is_running = world.dispatchers[side].run.is_some();
        if !is_running {
            let live = world.of_side(side);
            let has_polled = live.iter().any(|one| world.handlers[*one].is_polled);
            match kind {
                RunKind::Turn => {}
                RunKind::Poll if !is_due => return,
                RunKind::Poll => {}
                RunKind::UntilStopped if has_polled => return,
                RunKind::UntilStopped if !world.threads[me].stack.is_empty() => return,
                RunKind::UntilStopped => {}
            }
            world.begin_run(me, side, kind);
        }
        let stops = world.dispatchers[side].stop;
        match kind {
            RunKind::UntilStopped if !is_running && !is_due => self.pass(world, me, Place::Free),
            _ => drop(world),
        }
        let long = Some(Duration::from_secs(3600));
        let ran = catch_unwind(AssertUnwindSafe(|| match kind {
            RunKind::Turn => dispatcher.run_once(Some(Duration::ZERO)),
            RunKind::Poll => dispatcher.run_once(long),
            RunKind::UntilStopped => dispatcher.run().map(|()| Turn::Stopped),
        }));
        drop(dispatcher);
        drop(self.arrive_with(me, |world| match is_running {
            true => {
                let is_right = matches!(ran, Ok(Err(Error::AlreadyRunning)));
                world.check(is_right, || format!("it runs already: {ran:?}"));
            }
            false => {
                world.threads[me].stack.pop();
                world.end_run(side, stops, &ran);
            }
        }));
    }

    /// Drops a dispatcher that does not run, and makes another.
    pub(super) fn renew(self: &Arc<Self>, mut world: Guard<'_>, me: usize, side: usize) {
        let is_busy = world.dispatchers[side].run.is_some();
        // The drop would wait for another thread that removes or pauses a handler.
        let live = world.of_side(side);
        if is_busy || live.iter().any(|handler| world.is_out(*handler)) {
            return;
        }
        let Some(dispatcher) = world.dispatchers[side].dispatcher.take() else {
            return;
        };
        world.dispatchers[side].stop = false;
        world.threads[me].stack.push(Activity::Takes);
        drop(world);
        drop(dispatcher);
        let mut world = self.arrive(me);
        if world.is_over {
            return;
        }
        world.threads[me].stack.pop();
        let left = world.of_side(side);
        world.check(left.is_empty(), || {
            format!("handlers {left:?} are not dropped")
        });
        let generation = world.dispatchers[side].generation + 1;
        world.dispatchers[side] = handlers::side(side, generation, Arc::downgrade(self));
    }
}

impl World {
    /// Whether no handler has been called for a signal in this run.
    pub(super) fn has_called_none(&self, side: usize) -> bool {
        let run = self.dispatchers[side].run.as_ref();
        run.is_none_or(|run| run.calls.is_empty())
    }

    fn begin_run(&mut self, me: usize, side: usize, kind: RunKind) {
        self.threads[me].stack.push(Activity::Run(side, kind));
        for handler in self.of_side(side) {
            self.handlers[handler].is_waiting = self.is_due(handler);
        }
        self.dispatchers[side].run = Some(Run {
            by: me,
            kind,
            calls: Vec::new(),
            has_panicked: false,
        });
    }

    fn end_run(&mut self, side: usize, stopped_before: bool, ran: &Ran) {
        let of = &mut self.dispatchers[side];
        let Some(run) = of.run.take() else {
            return self.fail("the run is over already");
        };
        let (has_polled, calls) = (of.has_polled, run.calls.len());
        let stop = of.stop;
        let is_right = match ran {
            // A callback that panics when the polling ends is logged.
            Err(_) => run.has_panicked,
            Ok(_) if run.has_panicked && !has_polled => false,
            Ok(Ok(Turn::Stopped)) => {
                of.stop = false;
                stop && (run.kind == RunKind::UntilStopped || calls == 0)
            }
            Ok(_) if stopped_before || run.kind == RunKind::UntilStopped => false,
            // A poll that finds work counts as well.
            Ok(Ok(Turn::Worked(worked))) => *worked == calls || has_polled && *worked > calls,
            Ok(Ok(Turn::TimedOut)) => run.kind == RunKind::Turn && calls == 0,
            Ok(_) => false,
        };
        let is_limited = side == 1 && run.kind != RunKind::UntilStopped;
        let is_right = is_right && !(is_limited && calls > CALLS as usize);
        self.check(is_right, || {
            format!("{:?} with {calls} calls, stop: {stop}: {ran:?}", run.kind)
        });
        let is_whole = matches!(ran, Ok(Ok(Turn::Worked(_) | Turn::TimedOut))) && !stop;
        let is_quiet = is_whole && matches!(ran, Ok(Ok(Turn::TimedOut)));
        for handler in self.of_side(side) {
            let is_due = self.is_due(handler);
            let entry = &mut self.handlers[handler];
            let is_here = !matches!(entry.state, State::Out(..));
            let keeps_suppressed = is_here && entry.is_suppressed;
            let missed_before = entry.missed;
            if is_whole && run.kind == RunKind::Turn && entry.is_waiting && is_due {
                entry.missed += 1;
            }
            // A handler that is not to be called any more may take a place among those of a turn.
            let may_miss = (has_polled || is_limited) && !is_quiet;
            let is_starved = entry.missed > if may_miss { MISSED } else { missed_before };
            let work_left = entry.state == State::Ready && entry.work.0 != entry.work.1;
            self.check(!keeps_suppressed, || {
                format!("the kicks of {handler} stay suppressed")
            });
            self.check(!is_starved, || {
                format!("handler {handler} is not called in a turn: {ran:?}, {calls} calls")
            });
            self.check(!(is_quiet && work_left), || {
                format!("work of {handler} is not found")
            });
        }
    }
}

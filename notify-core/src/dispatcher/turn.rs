// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Loop`]: one turn of the dispatcher, and what it keeps between turns.

use std::hint;
use std::io;
use std::mem;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use mio::{Events, Poll};

use super::backlog::{Backlog, Served};
use super::calls::{Aim, Called};
use super::entry::Entry;
use super::polling::{Mode, Polling};
use super::shared::{Shared, guarded};
use super::sync::ThreadId;
use super::token::WAKER;
use super::{Error, Failure, PollLimits, Reason};

/// How long notifiers may stay unlooked at while handlers are polled. A look is a system call.
const LOOK: Duration = Duration::from_micros(8);

/// How much the kernel tells at a time, at most. It tells the rest the next time.
const MOST_EVENTS: usize = 1024;

/// What the one thread that runs the dispatcher has for itself.
pub(super) struct Loop {
    poll: Poll,
    events: Events,
    /// A handler that was removed keeps neither its notifier nor its file descriptor.
    backlog: Backlog<Weak<Entry>>,
    polling: Polling,
    pub(super) on_failure: Box<dyn FnMut(Failure) + Send>,
    /// When the notifiers were looked at last, if anybody asks.
    looked: Instant,
    /// How many handlers are called in a turn, at most.
    most: usize,
}

impl Loop {
    pub(super) fn new(
        poll: Poll,
        most: usize,
        limits: PollLimits,
        on_failure: Box<dyn FnMut(Failure) + Send>,
    ) -> Self {
        Self {
            poll,
            events: Events::with_capacity(most.min(MOST_EVENTS)),
            backlog: Backlog::new(),
            polling: Polling::new(limits),
            on_failure,
            looked: Instant::now(),
            most,
        }
    }

    /// Polls, then waits until the deadline, then calls the handlers of what is ready, each once.
    /// Answers how many found something to do.
    pub(super) fn turn(
        &mut self,
        shared: &Shared,
        me: ThreadId,
        deadline: Option<Instant>,
    ) -> Result<usize, Error> {
        let start = shared.can_poll().then(Instant::now);
        let mut worked = 0;
        if let Some(start) = start
            && !self.polling.is_empty()
        {
            worked = self.spin(shared, me, start, deadline)?;
            if worked == 0 && self.backlog.is_empty() {
                worked = self.settle(shared, me, start);
            }
        }
        let nothing_yet = worked == 0 && self.backlog.is_empty();
        if nothing_yet && !shared.stop.is_requested() {
            let remaining = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            self.look(shared, remaining)?;
        } else if start.is_none_or(|start| start.saturating_duration_since(self.looked) >= LOOK) {
            self.look(shared, Some(Duration::ZERO))?;
        }
        let waited = start.map(|start| start.elapsed());
        Ok(worked + self.serve(shared, me, waited))
    }

    /// Polls for the longest window, if it is open, or until there is something else to do. What began
    /// to be polled before is polled at least once.
    fn spin(
        &mut self,
        shared: &Shared,
        me: ThreadId,
        start: Instant,
        deadline: Option<Instant>,
    ) -> Result<usize, Error> {
        let mut window = self.polling.window(start);
        if let Some(deadline) = deadline {
            window = window.min(deadline.saturating_duration_since(start));
        }
        if !self.backlog.is_empty() {
            window = Duration::ZERO;
        }
        if !window.is_zero() {
            self.polling.mode = Mode::Spinning;
        } else if self.polling.mode != Mode::Spinning {
            return Ok(0);
        }
        let mut now = start;
        loop {
            let times = (start, now);
            let failed = &mut self.on_failure;
            let mut worked = self
                .polling
                .visit(shared, me, Aim::Spin, times, &mut *failed);
            let over = self.polling.is_empty() || now.saturating_duration_since(start) >= window;
            if worked == 0 && !over && !shared.stop.is_requested() {
                if now.saturating_duration_since(self.looked) >= LOOK {
                    self.look(shared, Some(Duration::ZERO))?;
                }
                if self.backlog.is_empty() {
                    hint::spin_loop();
                    let before = mem::replace(&mut now, Instant::now());
                    if !self.polling.found_nothing(before, now) {
                        // One more look, and kicks are wanted again.
                        window = Duration::ZERO;
                    }
                    continue;
                }
            }
            let failed = &mut self.on_failure;
            worked += self.polling.let_idle_leave(shared, me, now, &mut *failed);
            return Ok(worked);
        }
    }

    /// Before the dispatcher blocks: kicks are wanted again, and then each handler looks once more.
    fn settle(&mut self, shared: &Shared, me: ThreadId, start: Instant) -> usize {
        if self.polling.mode == Mode::Settled {
            return 0;
        }
        let times = (start, Instant::now());
        let failed = &mut self.on_failure;
        let worked = self.polling.visit(shared, me, Aim::Settle, times, failed);
        self.polling.mode = match worked {
            0 => Mode::Settled,
            _ => Mode::Unsettled,
        };
        worked
    }

    /// Nobody runs the dispatcher from now on: kicks are wanted again. Whoever runs it next looks first.
    pub(super) fn rest(&mut self, shared: &Shared, me: ThreadId) {
        if self.polling.mode == Mode::Spinning {
            let now = Instant::now();
            let on_failure = &mut self.on_failure;
            // This may be the end of a run that panics, and the others want their kicks, too.
            let failed = |failure| {
                if let Err(payload) = guarded(|| on_failure(failure)) {
                    let reason = Reason::Panic(payload);
                    log::error!("the callback about a handler that failed {reason}");
                }
            };
            self.polling.mode = Mode::Unsettled;
            self.polling
                .visit(shared, me, Aim::Rest, (now, now), failed);
        }
    }

    /// Asks the kernel what is ready, and waits for it so long.
    fn look(&mut self, shared: &Shared, timeout: Option<Duration>) -> Result<(), Error> {
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            // The caller comes again.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => {
                let cause = error.into();
                return Err(Error::Wait { cause });
            }
        }
        if shared.can_poll() {
            self.looked = Instant::now();
        }
        let table = shared.table();
        for event in &self.events {
            if event.token() == WAKER {
                continue;
            }
            // An event of a handler that has gone since names nothing.
            let entry = table
                .as_ref()
                .and_then(|table| table.get(event.token().into()));
            let Some(entry) = entry else {
                continue;
            };
            entry.watched().note(event);
            if !entry.set_queued(true) {
                self.backlog.push(Arc::downgrade(entry));
            }
        }
        Ok(())
    }

    /// Calls the handlers of what is ready.
    fn serve(&mut self, shared: &Shared, me: ThreadId, waited: Option<Duration>) -> usize {
        let mut worked = 0;
        let (polling, on_failure) = (&mut self.polling, &mut self.on_failure);
        self.backlog.turn(self.most, &shared.stop, |entry| {
            let Some(entry) = &entry.upgrade() else {
                return Served::Done;
            };
            entry.set_queued(false);
            match shared.serve(entry, me) {
                Called::Out | Called::Idle => return Served::Done,
                Called::Worked { can_poll } => {
                    worked += 1;
                    if let Some(waited) = waited
                        && can_poll
                    {
                        polling.event(entry, waited);
                    }
                }
                Called::Failed(failure) => {
                    worked += 1;
                    on_failure(*failure);
                    return Served::Done;
                }
            }
            if entry.watched().may_leave_a_rest() {
                entry.set_queued(true);
                Served::Again
            } else {
                Served::Done
            }
        });
        worked
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Loop`]: one turn of the dispatcher, and what it keeps between turns.

use std::hint;
use std::io;
use std::mem;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use mio::{Events, Poll};

use super::backlog::{Backlog, Served};
use super::call::{Aim, Called};
use super::handler::catch_panic;
use super::polling::{Mode, Polling};
use super::shared::Shared;
use super::sync::ThreadId;
use super::table::Entry;
use super::token::WAKER;
use super::{Error, Failure, PollLimits, Reason};

/// How often the kernel is asked what is ready while handlers are polled. That is a system call.
const COLLECT_EVERY: Duration = Duration::from_micros(8);

/// The most events that one system call returns. The next one returns the rest.
const MOST_EVENTS: usize = 1024;

/// What only the thread that runs the dispatcher uses.
pub(super) struct Loop {
    poll: Poll,
    events: Events,
    /// A handler that was removed keeps neither its notifier nor its file descriptor.
    backlog: Backlog<Weak<Entry>>,
    polling: Polling,
    pub(super) on_failure: Box<dyn FnMut(Failure) + Send>,
    /// When the kernel was asked last; kept only once a handler can be polled.
    collected: Instant,
    /// Whether the last turn asked the kernel what is ready and came to the end of it, and no look
    /// is due.
    pub(super) is_all_done: bool,
    /// How many handlers are called in a turn, at most.
    most_calls: usize,
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
            // The waker's event takes no handler's place.
            events: Events::with_capacity(most.min(MOST_EVENTS - 1) + 1),
            backlog: Backlog::new(),
            polling: Polling::new(limits),
            on_failure,
            collected: Instant::now(),
            is_all_done: false,
            most_calls: most,
        }
    }

    /// Polls, then waits until the deadline, then calls the handlers of what is ready, each once.
    /// Returns how many found something to do.
    pub(super) fn run_turn(
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
            worked = self.poll_handlers(shared, me, start, deadline)?;
            // A look that is due has no signal, so it does not wait until no other handler is busy.
            let is_look_due = self.polling.mode == Mode::PollDue;
            if worked == 0 && (is_look_due || self.backlog.is_empty()) {
                worked = self.poll_once_more(shared, me, start);
            }
        }
        let nothing_yet = worked == 0 && self.backlog.is_empty();
        let mut has_asked = true;
        if nothing_yet && !shared.stop.is_requested() {
            let remaining = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            self.collect_ready(shared, remaining)?;
        } else if start
            .is_none_or(|start| start.saturating_duration_since(self.collected) >= COLLECT_EVERY)
        {
            self.collect_ready(shared, Some(Duration::ZERO))?;
        } else {
            has_asked = false;
        }
        let waited = start.map(|start| start.elapsed());
        worked += self.call_ready(shared, me, waited);
        let is_look_due = !self.polling.is_empty() && self.polling.mode != Mode::MayBlock;
        self.is_all_done = has_asked && self.backlog.is_empty() && !is_look_due;
        Ok(worked)
    }

    /// Polls for the longest window, if it is open, or until there is something else to do. What
    /// began to be polled before is polled at least once.
    fn poll_handlers(
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
            self.polling.mode = Mode::Suppressed;
        } else if self.polling.mode != Mode::Suppressed {
            return Ok(0);
        }
        let mut now = start;
        loop {
            let times = (start, now);
            let failed = &mut self.on_failure;
            let mut worked = self
                .polling
                .poll_each(shared, me, Aim::Poll, times, &mut *failed);
            let over = self.polling.is_empty() || now.saturating_duration_since(start) >= window;
            if worked == 0 && !over && !shared.stop.is_requested() {
                if now.saturating_duration_since(self.collected) >= COLLECT_EVERY {
                    self.collect_ready(shared, Some(Duration::ZERO))?;
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
            worked += self.polling.remove_idle(shared, me, now, &mut *failed);
            return Ok(worked);
        }
    }

    /// Before the dispatcher blocks: kicks are wanted again, and then each handler looks once more.
    fn poll_once_more(&mut self, shared: &Shared, me: ThreadId, start: Instant) -> usize {
        if self.polling.mode == Mode::MayBlock {
            return 0;
        }
        let times = (start, Instant::now());
        let failed = &mut self.on_failure;
        let worked = self
            .polling
            .poll_each(shared, me, Aim::LastPoll, times, failed);
        self.polling.mode = match worked {
            0 => Mode::MayBlock,
            _ => Mode::PollDue,
        };
        worked
    }

    /// The dispatcher stops running: kicks are wanted again, and the next run begins with a look.
    pub(super) fn end_polling(&mut self, shared: &Shared, me: ThreadId) {
        if self.polling.mode == Mode::Suppressed {
            let now = Instant::now();
            let on_failure = &mut self.on_failure;
            // This may be the end of a run that panics, and the other handlers want their kicks,
            // too.
            let failed = |failure| {
                if let Err(payload) = catch_panic(|| on_failure(failure)) {
                    let reason = Reason::Panic(payload);
                    log::error!("the callback of on_failure {reason}");
                }
            };
            self.polling.mode = Mode::PollDue;
            self.polling
                .poll_each(shared, me, Aim::EndPolling, (now, now), failed);
        }
    }

    /// Asks the kernel what is ready, waits for it for at most `timeout`, and puts it into the
    /// backlog.
    fn collect_ready(&mut self, shared: &Shared, timeout: Option<Duration>) -> Result<(), Error> {
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
            self.collected = Instant::now();
        }
        let table = shared.table();
        for event in &self.events {
            if event.token() == WAKER {
                continue;
            }
            // The handler of an event may have been removed since.
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
    fn call_ready(&mut self, shared: &Shared, me: ThreadId, waited: Option<Duration>) -> usize {
        let mut worked = 0;
        let (polling, on_failure) = (&mut self.polling, &mut self.on_failure);
        self.backlog
            .serve_each_once(self.most_calls, &shared.stop, |entry| {
                let Some(entry) = &entry.upgrade() else {
                    return Served::Done;
                };
                entry.set_queued(false);
                match shared.call_for_signals(entry, me) {
                    Called::Out | Called::Idle => return Served::Done,
                    Called::Worked { can_poll } => {
                        worked += 1;
                        if let Some(waited) = waited
                            && can_poll
                        {
                            polling.note_signal(entry, waited);
                        }
                    }
                    Called::Failed(failure) => {
                        worked += 1;
                        on_failure(*failure);
                        return Served::Done;
                    }
                }
                if entry.watched().may_hold_more() {
                    entry.set_queued(true);
                    Served::Again
                } else {
                    Served::Done
                }
            });
        worked
    }
}

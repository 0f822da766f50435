// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The beginning of a history, which step is next, and the end.

use std::fs;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};

use notify_core::EventNotifier;
use notify_core::dispatcher::DispatcherHandle;

use super::baton::{Baton, Place, THREADS};
use super::handlers;
use super::model::{COUNTERS, Entry, RunKind, SEMAPHORES, SOURCES, Source, SourceKind};
use super::model::{State, World};
use super::step::{Act, Odd, Step};

/// How many turns find everything that is ready at the end, if a source is ready for ever.
const TURNS: usize = 32;

/// The number of open files of this process.
pub(super) fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

fn source(number: usize) -> Source {
    let kind = match number {
        0..COUNTERS => SourceKind::Notifier(Arc::new(EventNotifier::new().expect("a notifier"))),
        _ if number < COUNTERS + SEMAPHORES => {
            let semaphore = EventNotifier::builder().semaphore(true).build();
            SourceKind::Notifier(Arc::new(semaphore.expect("a notifier")))
        }
        _ => {
            let (ours, peer) = UnixStream::pair().expect("sockets");
            ours.set_nonblocking(true).expect("a mode");
            SourceKind::Socket(Arc::new(ours), Some(peer))
        }
    };
    Source {
        kind,
        count: 0,
        may_have_one: false,
        is_hung_up: false,
    }
}

impl World {
    pub(super) fn new(steps: &[Step], baton: &Weak<Baton>) -> Self {
        let side = |number| handlers::side(number, 0, Weak::clone(baton));
        Self {
            steps: steps.iter().cloned().collect(),
            next: None,
            turn: 0,
            threads: Default::default(),
            progress: 0,
            is_over: false,
            failure: None,
            sources: (0..SOURCES).map(source).collect(),
            handlers: Vec::new(),
            dispatchers: [side(0), side(1)],
            ending: 0,
        }
    }

    /// Returns the next step, and the thread that can carry it out.
    pub(super) fn next_step(&mut self) -> Option<(usize, Act)> {
        if self.next.is_none() {
            self.next = match self.steps.pop_front() {
                Some(step) => Some(self.for_thread(step.by.into(), step.act)),
                None => self.last_step(),
            };
        }
        self.next
    }

    fn for_thread(&self, by: usize, act: Act) -> (usize, Act) {
        let in_order = (0..THREADS).map(|more| (by + more) % THREADS);
        let here = |thread: &usize| self.threads[*thread].place == Place::Here;
        let mut here = in_order.filter(here);
        let first = here.clone().next();
        let by = match act {
            Act::Return(_) => here.find(|thread| self.in_call(*thread)).or(first),
            _ => first,
        };
        (by.unwrap_or(self.turn), act)
    }

    /// Ends all calls and runs, lets the dispatchers handle what is ready, and removes all.
    fn last_step(&mut self) -> Option<(usize, Act)> {
        for (number, side) in self.dispatchers.iter().enumerate() {
            let run = side.run.as_ref();
            let waits = run.is_some_and(|run| run.kind == RunKind::UntilStopped);
            if waits && !side.stop {
                return Some(self.for_thread(0, Act::Stop(number == 1)));
            }
        }
        let in_call = |thread: usize| self.in_call(thread);
        if (0..THREADS).any(in_call) {
            return Some(self.for_thread(0, Act::Return(2)));
        }
        self.ending += 1;
        let side = self.ending % 2 == 1;
        if self.ending <= 2 * TURNS {
            return Some((0, Act::Turn(side)));
        }
        self.check_quiet();
        let renews = self.ending <= 2 * TURNS + 2;
        renews.then_some((0, Act::Odd(Odd::Renew(side))))
    }

    /// Everything that was ready is handled.
    fn check_quiet(&mut self) {
        for handler in 0..self.handlers.len() {
            let entry = &self.handlers[handler];
            let source = &self.sources[entry.source];
            let is_endless = source.is_hung_up || source.count > 2 || entry.source >= COUNTERS;
            let is_left = self.is_due(handler) && !is_endless;
            let work = entry.state == State::Ready && entry.work.0 != entry.work.1;
            self.check(!is_left && !work, || {
                format!("handler {handler} was not called")
            });
        }
    }

    /// Between two steps: what a look has left is found out, and who waits for its turn.
    pub(super) fn refresh(&mut self) {
        for source in &mut self.sources {
            if let SourceKind::Notifier(notifier) = &source.kind
                && std::mem::take(&mut source.may_have_one)
                && source.count == 0
            {
                source.count = u64::from(notifier.is_signalled().expect("an eventfd"));
            }
        }
        for handler in 0..self.handlers.len() {
            if self.handlers[handler].is_waiting && !self.is_due(handler) {
                (
                    self.handlers[handler].is_waiting,
                    self.handlers[handler].missed,
                ) = (false, 0);
            }
        }
    }

    /// No dispatcher holds a source, and what no handler took is in the counters.
    pub(super) fn check_end(mut self) {
        self.handlers.clear();
        for source in &self.sources {
            match &source.kind {
                SourceKind::Notifier(notifier) => {
                    let mut left = 0;
                    while let Ok(Some(count)) = notifier.consume() {
                        left += count.get();
                    }
                    let expected = source.count..=source.count + u64::from(source.may_have_one);
                    assert!(
                        expected.contains(&left),
                        "{left} signals left, {expected:?} expected"
                    );
                    assert_eq!(Arc::strong_count(notifier), 1, "a notifier is held");
                }
                SourceKind::Socket(socket, _) => {
                    assert_eq!(Arc::strong_count(socket), 1, "a socket is held");
                }
            }
        }
    }
}

impl Entry {
    pub(super) fn new(
        side: usize,
        generation: usize,
        handle: DispatcherHandle,
        source: usize,
        is_polled: bool,
    ) -> Self {
        Self {
            side,
            generation,
            handle,
            source,
            token: None,
            is_polled,
            state: State::Ready,
            armed: None,
            work: (0, 0),
            is_suppressed: false,
            has_begun: false,
            ends_on: None,
            failed: None,
            signalled: None,
            has_panicked: false,
            has_end_panicked: false,
            is_waiting: false,
            missed: 0,
        }
    }
}

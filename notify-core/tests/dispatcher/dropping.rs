// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A dropped dispatcher leaves unhandled signals in the counters.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use notify_core::EventNotifier;
use notify_core::dispatcher::{
    Dispatcher, Error, Handler, HandlerError, PollHandler, Progress, Token, Turn,
};

use crate::ring::{Ring, dispatcher, eager, open_window, ring};
use crate::support::{PATIENCE, notifier, some, wait_until};

/// Work that comes without a signal is in the ring when the run ends, and only one piece of it was
/// served.
fn run_that_ends_while_polling() -> (Dispatcher, Arc<Ring>, Arc<EventNotifier>, Token) {
    let mut limits = eager();
    limits.max = Duration::from_secs(3600);
    let dispatcher = dispatcher(limits);
    let (ring, kick, token) = ring(&dispatcher);
    open_window(&dispatcher, &ring, &kick);
    ring.late.store(1, Ordering::SeqCst);
    thread::scope(|scope| {
        scope.spawn(|| {
            wait_until(|| ring.suppressed.load(Ordering::SeqCst));
            ring.add(&kick);
        });
        let turn = dispatcher.run_once(Some(PATIENCE)).unwrap();
        assert!(matches!(turn, Turn::Worked(_)), "{turn:?}");
    });
    assert!(!ring.suppressed.load(Ordering::SeqCst));
    (dispatcher, ring, kick, token)
}

#[track_caller]
fn expect_nothing_lost(ring: &Ring, kick: &EventNotifier) {
    let (added, served) = (ring.get(|ring| &ring.added), ring.get(|ring| &ring.served));
    assert!(
        served == added || kick.is_signalled().unwrap(),
        "of {added}, {served} were served, and there is no signal"
    );
}

#[test]
fn the_look_that_is_due_is_left_in_the_counter() {
    let (dispatcher, ring, kick, _) = run_that_ends_while_polling();
    drop(dispatcher);
    expect_nothing_lost(&ring, &kick);
}

#[test]
fn the_look_that_is_due_is_handed_back_by_a_removal() {
    let (dispatcher, _, kick, token) = run_that_ends_while_polling();
    assert_eq!(dispatcher.handle().remove(token).unwrap(), some(1));
    assert!(!kick.is_signalled().unwrap(), "handed back, so not left");
}

/// A handler that takes one entry at a time is removed between two polls, with kicks wanted again.
#[test]
fn a_poll_that_did_not_finish_leaves_a_look_due() {
    struct Bounded(Arc<Ring>);
    impl Handler for Bounded {
        fn handle(&mut self, _: NonZeroU64) -> Result<(), HandlerError> {
            self.0.serve();
            Ok(())
        }
    }
    impl PollHandler for Bounded {
        fn poll(&mut self) -> Progress {
            let (added, served) = (&self.0.added, &self.0.served);
            if served.load(Ordering::SeqCst) == added.load(Ordering::SeqCst) {
                return Progress::None;
            }
            served.fetch_add(1, Ordering::SeqCst);
            Progress::Made
        }
        fn end_polling(&mut self) {
            let late = self.0.late.swap(0, Ordering::SeqCst);
            self.0.added.fetch_add(late, Ordering::SeqCst);
        }
    }
    for drops in [false, true] {
        let dispatcher = dispatcher(eager());
        let (ring, kick) = (Arc::new(Ring::default()), notifier());
        let bounded = Bounded(Arc::clone(&ring));
        let token = dispatcher
            .handle()
            .add_polled(Arc::clone(&kick), bounded)
            .unwrap();
        ring.add(&kick);
        assert_eq!(
            dispatcher.run_once(Some(PATIENCE)).unwrap(),
            Turn::Worked(1)
        );
        // Three entries come without a signal as polling ends; the last look takes the first.
        ring.late.store(3, Ordering::SeqCst);
        let turn = dispatcher.run_once(Some(PATIENCE)).unwrap();
        assert_eq!(turn, Turn::Worked(1));
        assert_eq!(ring.get(|ring| &ring.served), 2);
        if drops {
            drop(dispatcher);
            expect_nothing_lost(&ring, &kick);
        } else {
            assert_eq!(dispatcher.handle().remove(token).unwrap(), some(1));
        }
    }
}

/// Another thread is pausing a handler, in its `end_polling`, when the dispatcher is dropped: each
/// signal that came is handed back or in the counter.
#[test]
fn signals_are_not_merged_when_another_thread_is_pausing() {
    struct Slow {
        /// The thread that runs the dispatcher.
        runner: Option<ThreadId>,
        is_held: Arc<AtomicBool>,
        go: Arc<AtomicBool>,
    }
    impl Handler for Slow {
        fn handle(&mut self, _: NonZeroU64) -> Result<(), HandlerError> {
            Ok(())
        }
    }
    impl PollHandler for Slow {
        fn poll(&mut self) -> Progress {
            Progress::None
        }
        fn begin_polling(&mut self) {
            self.runner = Some(thread::current().id());
        }
        fn end_polling(&mut self) {
            if self.runner != Some(thread::current().id()) {
                self.is_held.store(true, Ordering::SeqCst);
                wait_until(|| self.go.load(Ordering::SeqCst));
            }
        }
    }
    let dispatcher = Arc::new(dispatcher(eager()));
    let handle = dispatcher.handle();
    let kick = notifier();
    let [is_held, go] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let slow = Slow {
        runner: None,
        is_held: Arc::clone(&is_held),
        go: Arc::clone(&go),
    };
    let token = handle.add_polled(Arc::clone(&kick), slow).unwrap();
    let running = {
        let dispatcher = Arc::clone(&dispatcher);
        thread::spawn(move || dispatcher.run())
    };
    // Until the handler is polled, and is in its slot when it is paused.
    let start = Instant::now();
    let pausing = loop {
        kick.notify().unwrap();
        thread::sleep(Duration::from_millis(1));
        let other = handle.clone();
        let pausing = thread::spawn(move || other.pause(token));
        wait_until(|| is_held.load(Ordering::SeqCst) || pausing.is_finished());
        if is_held.load(Ordering::SeqCst) {
            break pausing;
        }
        assert!(start.elapsed() < PATIENCE, "it is not polled");
        pausing.join().unwrap().unwrap();
        handle.resume(token).unwrap();
    };
    handle.stop().unwrap();
    running.join().unwrap().unwrap();
    kick.consume().unwrap();
    (0..3).for_each(|_| kick.notify().unwrap());
    let dropping = thread::spawn(move || drop(dispatcher));
    wait_until(|| matches!(handle.resume(token), Err(Error::Gone)));
    go.store(true, Ordering::SeqCst);
    dropping.join().unwrap();
    let handed_back = pausing.join().unwrap().ok().flatten();
    let left = kick.consume().unwrap();
    let all = [handed_back, left].into_iter().flatten();
    assert_eq!(all.map(u64::from).sum::<u64>(), 3);
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A dispatcher that is dropped leaves what was not handled in the counters.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use notify_core::EventNotifier;
use notify_core::dispatcher::{
    Dispatcher, Handler, HandlerError, PollHandler, Progress, Token, Turn,
};

use crate::ring::{Ring, dispatcher, eager, open_window, ring};
use crate::support::{PATIENCE, notifier, some, wait_until};

/// Work that comes without a signal is in the ring when the run ends, and only one of it was
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
        let token = dispatcher.handle().add_polled(&kick, bounded).unwrap();
        ring.add(&kick);
        assert_eq!(
            dispatcher.run_once(Some(PATIENCE)).unwrap(),
            Turn::Worked(1)
        );
        // Three come without a signal as polling ends; the last look takes the first.
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

/// The signals that a pause in another thread would be handed back are still all in the counter.
#[test]
fn a_pause_meanwhile_takes_none_of_the_signals_along() {
    struct Slow(Arc<Barrier>, Arc<AtomicBool>);
    impl Handler for Slow {
        fn handle(&mut self, _: NonZeroU64) -> Result<(), HandlerError> {
            Ok(())
        }
    }
    impl PollHandler for Slow {
        fn poll(&mut self) -> Progress {
            Progress::None
        }
        fn end_polling(&mut self) {
            self.0.wait();
            wait_until(|| self.1.load(Ordering::SeqCst));
        }
    }
    let dispatcher = dispatcher(eager());
    let handle = dispatcher.handle();
    let (kick, meet, go) = (notifier(), Arc::new(Barrier::new(2)), Arc::default());
    let slow = Slow(Arc::clone(&meet), Arc::clone(&go));
    let token = handle.add_polled(&kick, slow).unwrap();
    kick.notify().unwrap();
    dispatcher.run_once(Some(PATIENCE)).unwrap();
    let paused = thread::scope(|scope| {
        let running = scope.spawn(|| dispatcher.run());
        let pausing = scope.spawn(|| handle.pause(token));
        // The pause has the handler, or the run does, which ends its polling for the pause.
        meet.wait();
        handle.stop().unwrap();
        (0..3).for_each(|_| kick.notify().unwrap());
        go.store(true, Ordering::SeqCst);
        running.join().unwrap().unwrap();
        pausing.join().unwrap()
    });
    assert_eq!(paused.unwrap(), some(3));
    drop(dispatcher);
}

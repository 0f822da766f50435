// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Handlers that are polled.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use notify_core::EventNotifier;
use notify_core::dispatcher::{
    Dispatcher, Error, Handler, HandlerError, PollHandler, PollLimits, Progress, Turn,
};

use crate::ring::{Device, MANY, Ring, dispatcher, eager, open_window, ring};
use crate::support::{
    PATIENCE, counted, expect_quiet_after, notifier, some, wait_until, while_it_runs,
};

#[test]
fn a_handler_is_polled_after_its_first_event_only() {
    let dispatcher = dispatcher(eager());
    let (ring, kick, _) = ring(&dispatcher);
    let short = Some(Duration::from_millis(2));
    assert_eq!(dispatcher.run_once(short).unwrap(), Turn::TimedOut);
    assert_eq!(ring.get(|ring| &ring.polls), 0);
    open_window(&dispatcher, &ring, &kick);
    assert_eq!(dispatcher.run_once(short).unwrap(), Turn::TimedOut);
    assert!(ring.get(|ring| &ring.polls) > 2);
    let (begins, ends) = (ring.get(|ring| &ring.begins), ring.get(|ring| &ring.ends));
    assert!(begins > 0);
    assert_eq!(begins, ends, "no thread runs it, so none polls");
}

#[test]
fn work_without_a_signal_is_found() {
    let dispatcher = dispatcher(eager());
    let (ring, kick, _) = ring(&dispatcher);
    open_window(&dispatcher, &ring, &kick);
    let told = ring.get(|ring| &ring.told);
    while_it_runs(&dispatcher, |_| {
        for _ in 0..100 {
            wait_until(|| ring.suppressed.load(Ordering::SeqCst));
            let added = ring.added.fetch_add(1, Ordering::SeqCst) + 1;
            wait_until(|| ring.get(|ring| &ring.served) == added);
        }
    });
    assert_eq!(ring.get(|ring| &ring.told), told, "no signal took part");
    assert!(!ring.suppressed.load(Ordering::SeqCst));
}

/// The last look, after kicks are wanted again and before the thread blocks.
#[test]
fn work_that_comes_while_kicks_are_about_to_be_wanted_is_found() {
    let mut limits = eager();
    limits.max = Duration::from_millis(100);
    let dispatcher = dispatcher(limits);
    let (ring, kick, _) = ring(&dispatcher);
    for round in 0..5 {
        open_window(&dispatcher, &ring, &kick);
        let served = ring.get(|ring| &ring.served);
        ring.late.store(1, Ordering::SeqCst);
        // Without the last look this would sleep for the whole time limit.
        let turn = dispatcher.run_once(Some(PATIENCE)).unwrap();
        assert_eq!(turn, Turn::Worked(1), "in round {round}");
        assert_eq!(ring.get(|ring| &ring.served), served + 1);
    }
}

/// No handler looks when a run ends; the next run looks before it blocks.
#[test]
fn work_that_comes_when_a_run_ends_is_found_by_the_next() {
    let dispatcher = dispatcher(eager());
    let (ring, kick, token) = ring(&dispatcher);
    open_window(&dispatcher, &ring, &kick);
    ring.late.store(1, Ordering::SeqCst);
    // The time runs out in the middle of a window, so kicks are wanted again. If it runs out before
    // the window begins, it is longer the next time: a slow host needs more.
    let mut time = Duration::from_micros(10);
    while ring.get(|ring| &ring.late) > 0 {
        dispatcher.run_once(Some(time)).unwrap();
        time = (time * 2).min(Duration::from_millis(100));
    }
    let served = || ring.get(|ring| &ring.served) == ring.get(|ring| &ring.added);
    if !served() {
        assert_eq!(
            dispatcher.run_once(Some(PATIENCE)).unwrap(),
            Turn::Worked(1)
        );
    }
    assert!(served());
    dispatcher.handle().remove(token).unwrap();
}

#[test]
fn a_stop_ends_a_window_and_lets_the_peer_signal_again() {
    let mut limits = eager();
    limits.max = Duration::from_secs(3600);
    let dispatcher = dispatcher(limits);
    let (ring, kick, _) = ring(&dispatcher);
    open_window(&dispatcher, &ring, &kick);
    while_it_runs(&dispatcher, |_| {
        wait_until(|| ring.suppressed.load(Ordering::SeqCst));
    });
    assert!(!ring.suppressed.load(Ordering::SeqCst));
}

/// A handler that cannot be polled does not wait for the window to end.
#[test]
fn others_are_looked_at_while_it_polls() {
    let mut limits = eager();
    limits.max = Duration::from_secs(3600);
    let dispatcher = dispatcher(limits);
    let (ring, kick, _) = ring(&dispatcher);
    let other = notifier();
    let (_, count) = counted(&dispatcher.handle(), &other);
    open_window(&dispatcher, &ring, &kick);
    while_it_runs(&dispatcher, |_| {
        for signals in 1..=100 {
            wait_until(|| ring.suppressed.load(Ordering::SeqCst));
            other.notify().unwrap();
            wait_until(|| count.signals() == signals);
        }
    });
}

/// Nor does it wait for a handler whose every poll finds work, nor the other way round.
#[test]
fn polls_and_signals_starve_nobody() {
    struct Endless(Arc<AtomicU64>);
    impl Handler for Endless {
        fn handle(&mut self, _: NonZeroU64) -> Result<(), HandlerError> {
            Ok(())
        }
    }
    impl PollHandler for Endless {
        fn poll(&mut self) -> Progress {
            self.0.fetch_add(1, Ordering::SeqCst);
            Progress::Made
        }
    }
    let dispatcher = dispatcher(eager());
    let handle = dispatcher.handle();
    let (kick, polls) = (notifier(), Arc::new(AtomicU64::new(0)));
    handle
        .add_polled(Arc::clone(&kick), Endless(Arc::clone(&polls)))
        .unwrap();
    let storm = notifier();
    let own = Arc::clone(&storm);
    let token = handle
        .add(Arc::clone(&storm), move |_| Ok(own.notify()?))
        .unwrap();
    let other = notifier();
    let (_, count) = counted(&handle, &other);
    kick.notify().unwrap();
    storm.notify().unwrap();
    while_it_runs(&dispatcher, |handle| {
        for signals in 1..=200 {
            if signals == 100 {
                handle.remove(token).unwrap(); // the storm is over, the polls go on
            }
            let before = polls.load(Ordering::SeqCst);
            other.notify().unwrap();
            wait_until(|| count.signals() == signals);
            wait_until(|| polls.load(Ordering::SeqCst) > before);
        }
    });
}

#[test]
fn a_handler_that_is_removed_or_paused_while_it_is_polled_wants_kicks_again() {
    for round in 0..20 {
        let mut limits = eager();
        limits.max = Duration::from_secs(3600);
        let dispatcher = dispatcher(limits);
        let (ring, kick, token) = ring(&dispatcher);
        open_window(&dispatcher, &ring, &kick);
        while_it_runs(&dispatcher, |handle| {
            wait_until(|| ring.suppressed.load(Ordering::SeqCst));
            let out = match round % 2 {
                0 => handle.remove(token),
                _ => handle.pause(token),
            };
            assert_eq!(out.unwrap(), some(1), "there was no look since");
            assert!(!ring.suppressed.load(Ordering::SeqCst));
            let polls = ring.get(|ring| &ring.polls);
            thread::sleep(Duration::from_millis(1));
            assert_eq!(ring.get(|ring| &ring.polls), polls, "it is not polled");
            if round % 2 == 1 {
                assert_eq!(handle.pause(token).unwrap(), None, "once is enough");
                ring.add(&kick);
                let added = ring.get(|ring| &ring.added);
                handle.resume(token).unwrap();
                wait_until(|| ring.get(|ring| &ring.served) == added);
            }
        });
        let same = ring.get(|ring| &ring.begins) == ring.get(|ring| &ring.ends);
        assert!(same, "each beginning has its end");
    }
}

#[test]
fn a_handler_that_fails_when_it_is_polled() {
    let (told, failures) = channel();
    let builder = Dispatcher::builder().poll_limits(eager());
    let builder = builder.on_failure(move |failure| told.send(failure).unwrap());
    let dispatcher = builder.build().unwrap();
    for panics in [false, true] {
        let (ring, kick, token) = ring(&dispatcher);
        open_window(&dispatcher, &ring, &kick);
        ring.fails.store(!panics, Ordering::SeqCst);
        ring.panics_at_end.store(panics, Ordering::SeqCst);
        let start = Instant::now();
        let failure = loop {
            let _ = dispatcher.run_once(Some(Duration::from_millis(2))).unwrap();
            match failures.try_recv() {
                Ok(failure) => break failure,
                Err(_) => assert!(start.elapsed() < PATIENCE),
            }
        };
        assert_eq!(failure.token, token);
        assert_eq!(failure.signalled, None);
        assert_eq!(failure.pending, some(1), "there was no look since");
        assert_eq!(ring.get(|ring| &ring.begins), ring.get(|ring| &ring.ends));
        assert!(matches!(
            dispatcher.handle().remove(token),
            Err(Error::NoHandler { .. })
        ));
        expect_quiet_after(&dispatcher, 0);
    }
}

#[test]
fn an_idle_handler_is_polled_no_more() {
    let mut limits = eager();
    limits.idle = Duration::from_secs(1);
    let dispatcher = dispatcher(limits);
    let (ring, kick, _) = ring(&dispatcher);
    open_window(&dispatcher, &ring, &kick);
    // It finds no work any more, so its window ends.
    let start = Instant::now();
    let mut polls = 0;
    while ring.get(|ring| &ring.polls) > polls {
        assert!(start.elapsed() < PATIENCE, "it is polled for ever");
        polls = ring.get(|ring| &ring.polls);
        // Long enough that a slow host polls in it, if it polls at all.
        let _ = dispatcher
            .run_once(Some(Duration::from_millis(200)))
            .unwrap();
    }
    assert!(!ring.suppressed.load(Ordering::SeqCst));
    ring.add(&kick);
    assert_eq!(
        dispatcher.run_once(Some(PATIENCE)).unwrap(),
        Turn::Worked(1)
    );
    // An event opens the window again, with the length that it had: so many polls do not fit into a
    // first window.
    while_it_runs(&dispatcher, |_| {
        wait_until(|| ring.get(|ring| &ring.polls) > polls + MANY);
    });
}

/// A semaphore is read again in the next turn. That finds nothing, and the look was left out.
#[test]
fn a_turn_timed_out_although_a_look_was_due() {
    let dispatcher = dispatcher(eager());
    let semaphore = EventNotifier::builder().semaphore(true).build();
    let (ring, kick) = (Arc::new(Ring::default()), Arc::new(semaphore.unwrap()));
    let device = Device(Arc::clone(&ring));
    dispatcher
        .handle()
        .add_polled(Arc::clone(&kick), device)
        .unwrap();
    let quiet = || while dispatcher.run_once(Some(Duration::ZERO)).unwrap() != Turn::TimedOut {};
    // Its window opens, and it is polled until the signal is found.
    for _ in 0..10 {
        kick.notify().unwrap();
        let turn = dispatcher.run_once(Some(PATIENCE)).unwrap();
        assert!(matches!(turn, Turn::Worked(_)), "{turn:?}");
        quiet();
    }
    ring.late.store(1, Ordering::SeqCst);
    kick.notify().unwrap();
    let turn = dispatcher.run_once(Some(PATIENCE)).unwrap();
    assert!(matches!(turn, Turn::Worked(_)), "{turn:?}");
    assert_eq!(ring.get(|ring| &ring.late), 0, "its polling has ended");
    quiet();
    assert_eq!(ring.get(|ring| &ring.added), 1);
    assert_eq!(ring.get(|ring| &ring.served), 1);
}

/// The other one is ready in each turn, and the work has no signal.
#[test]
fn a_look_that_was_due_waited_as_long_as_another_handler_was_busy() {
    let dispatcher = dispatcher(eager());
    let (ring, kick, _) = ring(&dispatcher);
    ring.add(&kick);
    expect_quiet_after(&dispatcher, 1);
    ring.late.store(1, Ordering::SeqCst);
    let busy = EventNotifier::builder().initial(1000).semaphore(true);
    let (_, calls) = counted(&dispatcher.handle(), &Arc::new(busy.build().unwrap()));
    for turn in 1..=10 {
        let worked = dispatcher.run_once(Some(PATIENCE)).unwrap();
        assert!(matches!(worked, Turn::Worked(_)), "{worked:?}");
        assert!(calls.calls() <= turn);
    }
    assert_eq!(ring.get(|ring| &ring.late), 0, "its polling has ended");
    assert_eq!(ring.get(|ring| &ring.served), 2);
}

#[test]
fn a_longest_window_of_zero_switches_polling_off() {
    let dispatcher = dispatcher(PollLimits::with_max(Duration::ZERO));
    let (ring, kick, _) = ring(&dispatcher);
    for _ in 0..20 {
        ring.add(&kick);
        assert_eq!(
            dispatcher.run_once(Some(PATIENCE)).unwrap(),
            Turn::Worked(1)
        );
    }
    assert_eq!(ring.get(|ring| &ring.polls), 0);
    assert_eq!(ring.get(|ring| &ring.told), 20);
}

/// A driver and a device that race for the ring's flag, with windows that open and shut.
#[test]
fn no_work_is_lost_between_polling_and_signals() {
    // Longer than QEMU's, so that they open on a busy host, too.
    let longest = Duration::from_millis(1);
    let mut limits = PollLimits::with_max(longest);
    limits.longest_gap = Duration::MAX;
    let dispatcher = dispatcher(limits);
    let (ring, kick, _) = ring(&dispatcher);
    let (found, told) = (
        || ring.get(|ring| &ring.found),
        || ring.get(|ring| &ring.told),
    );
    while_it_runs(&dispatcher, |_| {
        let (mut random, mut added) = (1u32, 0);
        // Until both ways were taken.
        while added < 5000 || found() == 0 || told() == 0 {
            added += 1;
            ring.add(&kick);
            wait_until(|| ring.get(|ring| &ring.served) == added);
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let mut pause = Duration::from_nanos(u64::from(random >> 17)); // up to 32.8 us
            if added % 64 == 0 {
                pause += longest;
            }
            let start = Instant::now();
            while start.elapsed() < pause {
                std::hint::spin_loop();
            }
        }
    });
}

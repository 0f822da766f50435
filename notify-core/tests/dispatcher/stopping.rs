// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Stops, and the signals that are left for the next run.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use notify_core::dispatcher::{Dispatcher, Turn};

use crate::support::{counted, expect_quiet_after, notifier, run};

#[test]
fn a_blocked_run_returns() {
    let dispatcher = Dispatcher::new().unwrap();
    thread::scope(|scope| {
        let running = scope.spawn(|| dispatcher.run());
        thread::sleep(Duration::from_millis(20));
        dispatcher.handle().stop().unwrap();
        running.join().unwrap().unwrap();
    });
}

#[test]
fn a_stop_before_the_run_counts_once() {
    let dispatcher = Dispatcher::new().unwrap();
    dispatcher.handle().stop().unwrap();
    dispatcher.handle().stop().unwrap();
    run(&dispatcher);
    expect_quiet_after(&dispatcher, 0);
}

#[test]
fn run_once_says_that_it_was_stopped() {
    let dispatcher = Dispatcher::new().unwrap();
    dispatcher.handle().stop().unwrap();
    assert_eq!(dispatcher.run_once(None).unwrap(), Turn::Stopped);
    let short = Some(Duration::from_millis(1));
    assert_eq!(dispatcher.run_once(short).unwrap(), Turn::TimedOut);
}

/// The event of the stop took the place of the handler's in the list that the kernel fills.
#[test]
fn a_turn_after_a_stop_called_no_handler_although_one_was_ready() {
    let dispatcher = Dispatcher::builder().calls_per_turn(1).build().unwrap();
    let (handle, notifier) = (dispatcher.handle(), notifier());
    let (_, count) = counted(&handle, &notifier);
    handle.stop().unwrap();
    assert_eq!(dispatcher.run_once(None).unwrap(), Turn::Stopped);
    notifier.notify().unwrap();
    expect_quiet_after(&dispatcher, 1);
    assert_eq!(count.signals(), 1);
}

/// The kernel has reported all of them, and will not do so again.
#[test]
fn what_a_stop_left_is_handled_by_the_next_run() {
    let dispatcher = Dispatcher::new().unwrap();
    let handle = dispatcher.handle();
    let (told, calls) = channel();
    let notifiers: Vec<_> = (0..10).map(|_| notifier()).collect();
    for (number, notifier) in notifiers.iter().enumerate() {
        let (handle, told) = (handle.clone(), told.clone());
        let add = handle.clone().add(Arc::clone(notifier), move |signalled| {
            handle.stop()?;
            Ok(told.send((number, signalled.get()))?)
        });
        add.unwrap();
        notifier.notify().unwrap();
    }
    for stop in 1..=10 {
        run(&dispatcher);
        assert_eq!(calls.try_iter().count(), 1, "in run {stop}");
    }
    expect_quiet_after(&dispatcher, 0);
}

#[test]
fn no_stop_is_lost_against_a_signal() {
    let dispatcher = Arc::new(Dispatcher::new().unwrap());
    let handle = dispatcher.handle();
    let notifier = notifier();
    let (_, count) = counted(&handle, &notifier);
    thread::scope(|scope| {
        for _ in 0..3000 {
            let running = scope.spawn(|| run(&dispatcher));
            notifier.notify().unwrap();
            handle.stop().unwrap();
            running.join().unwrap();
        }
    });
    while dispatcher.run_once(Some(Duration::ZERO)).unwrap() != Turn::TimedOut {}
    assert_eq!(count.signals(), 3000);
}

#[test]
fn the_time_of_run_once_runs_out() {
    let dispatcher = Dispatcher::new().unwrap();
    let notifier = notifier();
    // Wakes the thread without calling a handler.
    let (token, _) = counted(&dispatcher.handle(), &notifier);
    notifier.notify().unwrap();
    dispatcher.handle().pause(token).unwrap();
    dispatcher.handle().resume(token).unwrap();
    let before = std::time::Instant::now();
    let timeout = Duration::from_millis(30);
    assert_eq!(dispatcher.run_once(Some(timeout)).unwrap(), Turn::TimedOut);
    assert!(before.elapsed() >= timeout, "not before the time");
}

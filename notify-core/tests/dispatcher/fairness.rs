// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Busy handlers, and the others.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use notify_core::EventNotifier;
use notify_core::dispatcher::{Dispatcher, Turn};

use crate::support::{PATIENCE, counted, notifier};

/// Two handlers signal themselves without end. In each turn every handler has a turn.
#[test]
fn a_storm_starves_nobody() {
    const QUIET: usize = 300;
    let dispatcher = Dispatcher::builder().calls_per_turn(10).build().unwrap();
    let handle = dispatcher.handle();
    let storms: Vec<_> = (0..2).map(|_| notifier()).collect();
    for storm in &storms {
        let own = Arc::clone(storm);
        handle
            .add(Arc::clone(storm), move |_| Ok(own.notify()?))
            .unwrap();
        storm.notify().unwrap();
    }
    // And a handler whose counter is never emptied, which the kernel reports only once.
    let endless = EventNotifier::builder().initial(u32::MAX).semaphore(true);
    let endless = Arc::new(endless.build().unwrap());
    let (_, endless) = counted(&handle, &endless);
    let quiet: Vec<_> = (0..QUIET).map(|_| notifier()).collect();
    let counts: Vec<_> = quiet
        .iter()
        .map(|notifier| counted(&handle, notifier).1)
        .collect();
    for round in 1..=5 {
        quiet.iter().for_each(|notifier| notifier.notify().unwrap());
        // 303 are ready, and ten are called at a time.
        for _ in 0..45 {
            let Turn::Worked(calls) = dispatcher.run_once(Some(PATIENCE)).unwrap() else {
                panic!("there is always something to do");
            };
            assert!(calls <= 10, "{calls} calls in one turn");
        }
        let late = counts.iter().filter(|count| count.calls() != round).count();
        assert_eq!(late, 0, "in round {round}");
    }
    assert!(endless.calls() > 5, "it had its turns, too");
    assert!(endless.calls() <= 5 * 45, "and at most one in each");
}

/// The kernel is asked for fewer reports at a time.
#[test]
fn the_calls_in_a_turn_may_be_unlimited() {
    let dispatcher = Dispatcher::builder().calls_per_turn(u32::MAX);
    let dispatcher = dispatcher.build().unwrap();
    let notifiers: Vec<_> = (0..2000).map(|_| notifier()).collect();
    let handle = dispatcher.handle();
    let added = notifiers
        .iter()
        .map(|notifier| counted(&handle, notifier).1);
    let counts: Vec<_> = added.collect();
    notifiers
        .iter()
        .for_each(|notifier| notifier.notify().unwrap());
    while dispatcher.run_once(Some(Duration::ZERO)).unwrap() != Turn::TimedOut {}
    assert!(counts.iter().all(|count| count.calls() == 1));
}

#[test]
fn those_that_are_ready_have_their_turns_in_order() {
    let dispatcher = Dispatcher::builder().calls_per_turn(1).build().unwrap();
    let handle = dispatcher.handle();
    let order: Arc<Mutex<Vec<usize>>> = Arc::default();
    let notifiers: Vec<_> = (0..3).map(|_| notifier()).collect();
    for (number, notifier) in notifiers.iter().enumerate() {
        let (order, own) = (Arc::clone(&order), Arc::clone(notifier));
        let handler = move |_: NonZeroU64| {
            order.lock().unwrap().push(number);
            Ok(own.notify()?)
        };
        handle.add(Arc::clone(notifier), handler).unwrap();
        notifier.notify().unwrap();
    }
    for _ in 0..9 {
        assert_eq!(
            dispatcher.run_once(Some(PATIENCE)).unwrap(),
            Turn::Worked(1)
        );
    }
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 0, 1, 2, 0, 1, 2]);
}

/// It waits for its next turn, and the kernel reports it once more.
#[test]
fn one_that_is_reported_twice_has_one_turn() {
    let dispatcher = Dispatcher::new().unwrap();
    let semaphore = EventNotifier::builder().initial(10).semaphore(true);
    let semaphore = Arc::new(semaphore.build().unwrap());
    let (_, count) = counted(&dispatcher.handle(), &semaphore);
    for turn in 1..=10 {
        semaphore.notify().unwrap();
        assert_eq!(
            dispatcher.run_once(Some(PATIENCE)).unwrap(),
            Turn::Worked(1)
        );
        assert_eq!(count.calls(), turn);
    }
}

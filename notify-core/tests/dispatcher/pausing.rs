// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Handlers paused and resumed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use notify_core::EventNotifier;
use notify_core::dispatcher::{Dispatcher, Error, Turn};

use crate::support::{PATIENCE, counted, expect_quiet_after, notifier, run, some};

#[test]
fn a_paused_handler_is_not_called_and_misses_nothing() {
    let dispatcher = Dispatcher::new().unwrap();
    let handle = dispatcher.handle();
    let notifier = notifier();
    let (token, count) = counted(&handle, &notifier);
    notifier.notify().unwrap();
    assert_eq!(handle.pause(token).unwrap(), some(1));
    notifier.notify().unwrap();
    expect_quiet_after(&dispatcher, 0);
    assert_eq!(handle.pause(token).unwrap(), some(1), "what came since");
    assert_eq!(handle.pause(token).unwrap(), None);
    (0..2).for_each(|_| notifier.notify().unwrap());
    handle.resume(token).unwrap();
    handle.resume(token).unwrap();
    expect_quiet_after(&dispatcher, 1);
    assert_eq!((count.signals(), count.calls()), (2, 1));
    notifier.notify().unwrap();
    expect_quiet_after(&dispatcher, 1);
    assert_eq!((count.signals(), count.calls()), (3, 2));
}

/// The kernel's only report came while the handler was paused.
#[test]
fn a_signal_that_was_reported_before_the_pause_is_handed_back() {
    let dispatcher = Dispatcher::new().unwrap();
    let handle = dispatcher.handle();
    let (first, second) = (notifier(), notifier());
    let name = Arc::new(Mutex::new(None));
    let (inner, token) = (handle.clone(), Arc::clone(&name));
    let pausing = move |_| {
        let other = token.lock().unwrap().unwrap();
        assert_eq!(inner.pause(other)?, some(1));
        Ok(())
    };
    handle.add(Arc::clone(&first), pausing).unwrap();
    let (token, count) = counted(&handle, &second);
    *name.lock().unwrap() = Some(token);
    first.notify().unwrap();
    second.notify().unwrap();
    expect_quiet_after(&dispatcher, 1);
    assert_eq!(count.calls(), 0);
    handle.resume(token).unwrap();
    second.notify().unwrap();
    expect_quiet_after(&dispatcher, 1);
    assert_eq!(count.signals(), 1);
}

#[test]
fn a_running_handler_is_waited_for() {
    let dispatcher = Dispatcher::new().unwrap();
    let handle = dispatcher.handle();
    let notifier = notifier();
    let (began, begun) = channel();
    let done = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&done);
    let own = Arc::clone(&notifier);
    let add = handle.add(Arc::clone(&notifier), move |_| {
        told.store(false, Ordering::SeqCst);
        began.send(())?;
        thread::sleep(Duration::from_millis(20));
        own.notify()?;
        told.store(true, Ordering::SeqCst);
        Ok(())
    });
    let token = add.unwrap();
    thread::scope(|scope| {
        let running = scope.spawn(|| run(&dispatcher));
        notifier.notify().unwrap();
        for _ in 0..3 {
            begun.recv_timeout(PATIENCE).unwrap();
            assert_eq!(handle.pause(token).unwrap(), some(1));
            assert!(done.load(Ordering::SeqCst), "it was still running");
            // On a busy host it was called more than once before the pause.
            begun.try_iter().for_each(drop);
            assert!(begun.recv_timeout(Duration::from_millis(50)).is_err());
            notifier.notify().unwrap();
            handle.resume(token).unwrap();
        }
        begun.recv_timeout(PATIENCE).unwrap();
        handle.remove(token).unwrap();
        handle.stop().unwrap();
        running.join().unwrap();
    });
}

/// A caller that pauses must not wait for ever for a handler that is resumed and called again.
#[test]
fn a_pause_ends_when_the_call_does_even_if_somebody_resumes() {
    let dispatcher = Dispatcher::new().unwrap();
    let handle = dispatcher.handle();
    let notifier = notifier();
    let own = Arc::clone(&notifier);
    let token = handle
        .add(Arc::clone(&notifier), move |_| Ok(own.notify()?))
        .unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let running = scope.spawn(|| run(&dispatcher));
        notifier.notify().unwrap();
        let resumer = scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                handle.resume(token).unwrap();
                // In case it was handed back to the other thread.
                notifier.notify().unwrap();
            }
        });
        for _ in 0..2000 {
            handle.pause(token).unwrap();
        }
        over.store(true, Ordering::SeqCst);
        resumer.join().unwrap();
        handle.stop().unwrap();
        running.join().unwrap();
    });
}

#[test]
fn a_handler_pauses_itself_and_may_change_its_mind() {
    let dispatcher = Dispatcher::new().unwrap();
    let handle = dispatcher.handle();
    let (notifier, name) = (notifier(), Arc::new(Mutex::new(None)));
    let (own, token, kick) = (handle.clone(), Arc::clone(&name), Arc::clone(&notifier));
    let mut calls = 0;
    let add = handle.add(Arc::clone(&notifier), move |signalled| {
        let token = token.lock().unwrap().unwrap();
        calls += 1;
        kick.notify()?;
        assert_eq!(own.pause(token)?, some(1));
        if calls == 1 {
            own.resume(token)?;
            kick.notify()?;
        } else {
            assert_eq!(signalled.get(), 1);
        }
        Ok(())
    });
    let token = add.unwrap();
    *name.lock().unwrap() = Some(token);
    notifier.notify().unwrap();
    expect_quiet_after(&dispatcher, 2);
    notifier.notify().unwrap();
    expect_quiet_after(&dispatcher, 0);
    assert_eq!(handle.remove(token).unwrap(), some(1));
}

#[test]
fn a_paused_handler_can_be_removed() {
    let dispatcher = Dispatcher::new().unwrap();
    let handle = dispatcher.handle();
    let notifier = notifier();
    let (token, count) = counted(&handle, &notifier);
    handle.pause(token).unwrap();
    notifier.notify().unwrap();
    assert_eq!(handle.remove(token).unwrap(), some(1));
    assert_eq!(Arc::strong_count(&count), 1);
    assert_eq!(Arc::strong_count(&notifier), 1);
}

#[test]
fn a_notifier_that_has_another_handler_by_now_cannot_be_resumed() {
    let dispatcher = Dispatcher::new().unwrap();
    let handle = dispatcher.handle();
    let notifier = notifier();
    let (first, count) = counted(&handle, &notifier);
    handle.pause(first).unwrap();
    let (second, _) = counted(&handle, &notifier);
    let refused = handle.resume(first);
    assert!(
        matches!(refused, Err(Error::AlreadyAdded { .. })),
        "{refused:?}"
    );
    handle.remove(second).unwrap();
    notifier.notify().unwrap();
    expect_quiet_after(&dispatcher, 0);
    handle.resume(first).unwrap();
    expect_quiet_after(&dispatcher, 1);
    assert_eq!(count.signals(), 1);
}

/// The last turn has left them to be read again, and they took all the places of the next one.
#[test]
fn a_turn_of_paused_handlers_timed_out_although_another_one_was_ready() {
    for calls in [1, 2] {
        let dispatcher = Dispatcher::builder().calls_per_turn(calls).build().unwrap();
        let handle = dispatcher.handle();
        let semaphore = || EventNotifier::builder().initial(5).semaphore(true).build();
        let left: Vec<_> = (0..calls).map(|_| Arc::new(semaphore().unwrap())).collect();
        let added = left.iter().map(|on| counted(&handle, on).0);
        let tokens: Vec<_> = added.collect();
        let turn = dispatcher.run_once(Some(Duration::ZERO)).unwrap();
        assert_eq!(turn, Turn::Worked(left.len()));
        for token in tokens {
            assert_eq!(handle.pause(token).unwrap(), some(4));
        }
        let ready = notifier();
        let (_, count) = counted(&handle, &ready);
        ready.notify().unwrap();
        expect_quiet_after(&dispatcher, 1);
        assert_eq!(count.calls(), 1);
    }
}

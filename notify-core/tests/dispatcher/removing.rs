// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Handlers removed: from where, when, and what is handed back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use notify_core::EventNotifier;
use notify_core::dispatcher::{Dispatcher, Error, Token};

use crate::support::{PATIENCE, counted, expect_quiet_after, notifier, run, some};

#[track_caller]
fn expect_no_handler<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert!(matches!(result, Err(Error::NoHandler { .. })), "{result:?}");
}

#[test]
fn what_is_pending_is_handed_back() {
    let dispatcher = Dispatcher::new().unwrap();
    let handle = dispatcher.handle();
    let notifier = notifier();
    let (token, count) = counted(&handle, &notifier);
    (0..3).for_each(|_| notifier.notify().unwrap());
    assert_eq!(handle.remove(token).unwrap(), some(3));
    assert_eq!(Arc::strong_count(&count), 1, "the handler was dropped");
    assert_eq!(Arc::strong_count(&notifier), 1);
    // Later signals belong to no handler, and stay in the counter.
    notifier.notify().unwrap();
    expect_quiet_after(&dispatcher, 0);
    assert_eq!(count.calls(), 0);
    assert!(notifier.is_signalled().unwrap());
    expect_no_handler(handle.remove(token));
    expect_no_handler(handle.pause(token));
    expect_no_handler(handle.resume(token));
}

#[test]
fn all_of_a_semaphore_is_handed_back() {
    let dispatcher = Dispatcher::new().unwrap();
    let semaphore = EventNotifier::builder().initial(5).semaphore(true);
    let semaphore = Arc::new(semaphore.build().unwrap());
    let (token, _) = counted(&dispatcher.handle(), &semaphore);
    assert_eq!(dispatcher.handle().remove(token).unwrap(), some(5));
}

#[test]
fn a_token_is_never_used_again() {
    let dispatcher = Dispatcher::new().unwrap();
    let handle = dispatcher.handle();
    let notifier = notifier();
    let (old, _) = counted(&handle, &notifier);
    handle.remove(old).unwrap();
    let (new, count) = counted(&handle, &notifier);
    assert_ne!(old, new);
    expect_no_handler(handle.remove(old));
    notifier.notify().unwrap();
    expect_quiet_after(&dispatcher, 1);
    assert_eq!(count.signals(), 1);
}

/// The kernel has already reported the removed handler, and its slot has a new one.
#[test]
fn an_event_of_a_handler_that_is_gone_hits_no_other() {
    let dispatcher = Dispatcher::new().unwrap();
    let handle = dispatcher.handle();
    let (first, second, third) = (notifier(), notifier(), notifier());
    let tokens: Arc<Mutex<Vec<Token>>> = Arc::default();
    let added = Arc::new(Mutex::new(None));
    let replace = |own: usize| {
        let (handle, tokens) = (handle.clone(), Arc::clone(&tokens));
        let (added, third) = (Arc::clone(&added), Arc::clone(&third));
        move |_| {
            // The first of the two that is called removes the other.
            let other = tokens.lock().unwrap()[1 - own];
            assert_eq!(handle.remove(other)?, some(1));
            *added.lock().unwrap() = Some(counted(&handle, &third).1);
            Ok(())
        }
    };
    for (own, notifier) in [&first, &second].into_iter().enumerate() {
        let token = handle.add(Arc::clone(notifier), replace(own)).unwrap();
        tokens.lock().unwrap().push(token);
        notifier.notify().unwrap();
    }
    expect_quiet_after(&dispatcher, 1);
    let count = added.lock().unwrap().take().unwrap();
    assert_eq!(count.calls(), 0);
    third.notify().unwrap();
    expect_quiet_after(&dispatcher, 1);
    assert_eq!(count.calls(), 1);
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
        began.send(())?;
        thread::sleep(Duration::from_millis(50));
        own.notify()?; // while another thread waits for the removal
        told.store(true, Ordering::SeqCst);
        Ok(())
    });
    let token = add.unwrap();
    thread::scope(|scope| {
        let running = scope.spawn(|| run(&dispatcher));
        notifier.notify().unwrap();
        begun.recv_timeout(PATIENCE).unwrap();
        let removers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let removed = handle.remove(token);
                    assert!(done.load(Ordering::SeqCst), "it was still running");
                    assert_eq!(Arc::strong_count(&done), 1, "it was not dropped");
                    removed
                })
            })
            .collect();
        let mut removed: Vec<_> = removers
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect();
        let one = removed.iter().position(Result::is_ok).unwrap();
        assert_eq!(removed.swap_remove(one).unwrap(), some(1));
        removed.into_iter().for_each(expect_no_handler);
        handle.stop().unwrap();
        running.join().unwrap();
    });
}

#[test]
fn a_handler_removes_itself() {
    let dispatcher = Dispatcher::new().unwrap();
    let handle = dispatcher.handle();
    let (notifier, name) = (notifier(), Arc::new(Mutex::new(None)));
    let (own, token) = (handle.clone(), Arc::clone(&name));
    let kick = Arc::clone(&notifier);
    let witness = Arc::new(());
    let held = Arc::clone(&witness);
    let add = handle.add(Arc::clone(&notifier), move |_| {
        let token = token.lock().unwrap().unwrap();
        kick.notify()?;
        assert_eq!(own.remove(token)?, some(1));
        expect_no_handler(own.remove(token));
        expect_no_handler(own.pause(token));
        expect_no_handler(own.resume(token));
        assert_eq!(Arc::strong_count(&held), 2, "this is still running");
        kick.notify()?;
        Ok(())
    });
    *name.lock().unwrap() = Some(add.unwrap());
    notifier.notify().unwrap();
    expect_quiet_after(&dispatcher, 1);
    assert_eq!(Arc::strong_count(&witness), 1, "it was dropped");
    assert_eq!(
        notifier.consume().unwrap(),
        some(1),
        "what came after it was removed"
    );
    // Its slot is free again.
    let (token, count) = counted(&handle, &notifier);
    assert_ne!(Some(token), *name.lock().unwrap());
    notifier.notify().unwrap();
    expect_quiet_after(&dispatcher, 1);
    assert_eq!(count.calls(), 1);
}

/// One handler removes another while a third thread waits for the removal of the first.
#[test]
fn removals_do_not_wait_for_each_other() {
    for _ in 0..50 {
        let dispatcher = Dispatcher::new().unwrap();
        let handle = dispatcher.handle();
        let (first, second) = (notifier(), notifier());
        let (victim, count) = counted(&handle, &second);
        let (inner, barrier) = (handle.clone(), Arc::new(Barrier::new(2)));
        let meet = Arc::clone(&barrier);
        let add = handle.add(Arc::clone(&first), move |_| {
            meet.wait();
            inner.remove(victim)?;
            Ok(())
        });
        let token = add.unwrap();
        thread::scope(|scope| {
            let running = scope.spawn(|| run(&dispatcher));
            first.notify().unwrap();
            barrier.wait();
            handle.remove(token).unwrap();
            expect_no_handler(handle.remove(victim));
            handle.stop().unwrap();
            running.join().unwrap();
        });
        assert_eq!(count.calls(), 0);
    }
}

#[test]
fn a_handler_may_remove_others_when_it_is_dropped() {
    struct Last(notify_core::dispatcher::DispatcherHandle, Token);
    impl Drop for Last {
        fn drop(&mut self) {
            self.0.remove(self.1).unwrap();
        }
    }
    let dispatcher = Dispatcher::new().unwrap();
    let handle = dispatcher.handle();
    let (first, second) = (notifier(), notifier());
    let (victim, count) = counted(&handle, &second);
    let last = Last(handle.clone(), victim);
    let add = handle.add(Arc::clone(&first), move |_| {
        let _ = &last;
        Ok(())
    });
    let token = add.unwrap();
    handle.remove(token).unwrap();
    expect_no_handler(handle.remove(victim));
    assert_eq!(Arc::strong_count(&count), 1);
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Handlers added, and called.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use nix::sys::eventfd::EventFd;
use notify_core::EventNotifier;
use notify_core::dispatcher::{Dispatcher, Error, Handler, Turn};

use crate::support::{Count, PATIENCE, counted, counting, expect_quiet_after, notifier, run};

#[test]
fn signals_are_counted_and_told_at_once() {
    let dispatcher = Dispatcher::new().unwrap();
    let notifier = notifier();
    let (_, count) = counted(&dispatcher.handle(), &notifier);
    expect_quiet_after(&dispatcher, 0);
    (0..3).for_each(|_| notifier.notify().unwrap());
    expect_quiet_after(&dispatcher, 1);
    assert_eq!((count.signals(), count.calls()), (3, 1));
    notifier.notify().unwrap();
    expect_quiet_after(&dispatcher, 1);
    assert_eq!((count.signals(), count.calls()), (4, 2));
}

#[test]
fn what_was_signalled_before_it_was_added_counts() {
    let dispatcher = Dispatcher::new().unwrap();
    let notifier = notifier();
    notifier.notify().unwrap();
    let (_, count) = counted(&dispatcher.handle(), &notifier);
    expect_quiet_after(&dispatcher, 1);
    assert_eq!(count.signals(), 1);
}

#[test]
fn a_thread_that_is_blocked_sees_what_is_added_and_what_is_signalled() {
    let dispatcher = Dispatcher::new().unwrap();
    let handle = dispatcher.handle();
    thread::scope(|scope| {
        let running = scope.spawn(|| run(&dispatcher));
        let notifier = notifier();
        let (told, calls) = std::sync::mpsc::channel();
        let add = handle.add(Arc::clone(&notifier), move |signalled| {
            Ok(told.send(signalled)?)
        });
        add.unwrap();
        for _ in 0..100 {
            notifier.notify().unwrap();
            assert_eq!(calls.recv_timeout(PATIENCE).unwrap().get(), 1);
        }
        handle.stop().unwrap();
        running.join().unwrap();
    });
}

/// Each read of such a counter takes one, and epoll reports only the first.
#[test]
fn a_semaphore_gives_all_that_it_has() {
    let dispatcher = Dispatcher::new().unwrap();
    let semaphore = EventNotifier::builder().initial(5).semaphore(true);
    let semaphore = Arc::new(semaphore.build().unwrap());
    let (_, count) = counted(&dispatcher.handle(), &semaphore);
    expect_quiet_after(&dispatcher, 5);
    assert_eq!((count.signals(), count.calls()), (5, 5));
}

/// While no descriptor was free, `/proc` was asked for the mode of the eventfd at each signal.
#[test]
fn each_signal_of_an_adopted_eventfd_asked_for_its_mode() {
    let asked = AtomicU64::new(0);
    let run = || {
        let dispatcher = Dispatcher::new().unwrap();
        let eventfd = OwnedFd::from(EventFd::new().unwrap());
        let notifier = Arc::new(EventNotifier::adopt(eventfd).unwrap());
        let (_, count) = counted(&dispatcher.handle(), &notifier);
        assert!(asked.swap(0, Ordering::SeqCst) > 0);
        for signals in 1..=5 {
            notifier.notify().unwrap();
            expect_quiet_after(&dispatcher, 1);
            assert_eq!(count.signals(), signals);
        }
    };
    // `open` in a program that is linked with musl.
    #[cfg(target_arch = "x86_64")]
    let opens = [libc::SYS_openat, libc::SYS_open];
    #[cfg(not(target_arch = "x86_64"))]
    let opens = [libc::SYS_openat];
    let supervised = kvm_test::supervised(run, |attempt| {
        if opens.contains(&attempt.number) {
            asked.fetch_add(1, Ordering::SeqCst);
            return Err(libc::EMFILE);
        }
        attempt.carry_out()
    });
    supervised.unwrap();
    assert_eq!(asked.into_inner(), 0);
}

#[test]
fn the_same_file_descriptor_twice_is_refused_and_a_duplicate_is_not() {
    let dispatcher = Dispatcher::new().unwrap();
    let handle = dispatcher.handle();
    let notifier = notifier();
    counted(&handle, &notifier);
    let witness = Arc::new(Count::default());
    let rejected = handle
        .add(Arc::clone(&notifier), counting(&witness))
        .unwrap_err();
    assert!(
        matches!(rejected.error, Error::AlreadyAdded { fd, .. } if fd == notifier.as_raw_fd()),
        "{rejected:?}"
    );
    // What was refused comes back, and leaves nothing behind.
    let duplicate = Arc::new(notifier.try_clone().unwrap());
    handle.add(Arc::clone(&duplicate), rejected.value).unwrap();
}

#[test]
fn a_handler_may_be_a_type_or_a_box() {
    struct Queue(Arc<Count>);
    impl Handler for Queue {
        fn handle(
            &mut self,
            signalled: std::num::NonZeroU64,
        ) -> Result<(), notify_core::dispatcher::HandlerError> {
            self.0.add(signalled);
            Ok(())
        }
    }
    let dispatcher = Dispatcher::new().unwrap();
    let (handle, count) = (dispatcher.handle(), Arc::new(Count::default()));
    let (one, other) = (notifier(), notifier());
    handle
        .add_handler(Arc::clone(&one), Queue(Arc::clone(&count)))
        .unwrap();
    let boxed: Box<dyn Handler> = Box::new(Queue(Arc::clone(&count)));
    handle.add_handler(Arc::clone(&other), boxed).unwrap();
    one.notify().unwrap();
    other.notify().unwrap();
    assert_eq!(
        dispatcher.run_once(None).unwrap(),
        Turn::Worked(2),
        "both in one turn"
    );
    assert_eq!(count.calls(), 2);
}

#[test]
fn a_handler_may_add_others() {
    let dispatcher = Dispatcher::new().unwrap();
    let handle = dispatcher.handle();
    let (notifier, count) = (notifier(), Arc::new(Count::default()));
    let (inner, counter) = (handle.clone(), Arc::clone(&count));
    let add = handle.add(Arc::clone(&notifier), move |_| {
        for _ in 0..100 {
            let signalled = EventNotifier::builder().initial(1).build()?;
            inner.add(Arc::clone(&Arc::new(signalled)), counting(&counter))?;
        }
        Ok(())
    });
    add.unwrap();
    notifier.notify().unwrap();
    expect_quiet_after(&dispatcher, 2);
    assert_eq!(count.signals(), 100);
}

#[test]
fn a_dispatcher_that_is_dropped_drops_its_handlers_and_leaves_signals_alone() {
    let dispatcher = Dispatcher::new().unwrap();
    let handle = dispatcher.handle();
    let notifier = notifier();
    let (token, count) = counted(&handle, &notifier);
    notifier.notify().unwrap();
    drop(dispatcher);
    assert_eq!(Arc::strong_count(&count), 1, "the handler was dropped");
    assert_eq!(Arc::strong_count(&notifier), 1);
    assert!(notifier.is_signalled().unwrap());
    assert!(matches!(handle.remove(token), Err(Error::Gone)));
    assert!(matches!(handle.pause(token), Err(Error::Gone)));
    assert!(matches!(handle.resume(token), Err(Error::Gone)));
    let late = handle.add(Arc::clone(&notifier), |_| Ok(())).unwrap_err();
    assert!(matches!(late.error, Error::Gone));
    handle.stop().unwrap();
    assert_eq!(count.signals.load(Ordering::SeqCst), 0);
}

#[test]
fn one_thread_at_a_time() {
    let dispatcher = Arc::new(Dispatcher::new().unwrap());
    let (notifier, weak) = (notifier(), Arc::downgrade(&dispatcher));
    let (told, results) = std::sync::mpsc::channel();
    let add = dispatcher.handle().add(Arc::clone(&notifier), move |_| {
        let dispatcher = weak.upgrade().unwrap();
        told.send(dispatcher.run_once(None))?;
        told.send(
            thread::spawn(move || dispatcher.run_once(None))
                .join()
                .unwrap(),
        )?;
        Ok(())
    });
    add.unwrap();
    notifier.notify().unwrap();
    expect_quiet_after(&dispatcher, 1);
    for result in results.try_iter().take(2) {
        assert!(matches!(result, Err(Error::AlreadyRunning)), "{result:?}");
    }
    expect_quiet_after(&dispatcher, 0);
}

/// The first handler of each dispatcher has the same slot, so the slot alone would not distinguish
/// them.
#[test]
fn a_token_of_another_dispatcher_is_refused() {
    let (one, other) = (Dispatcher::new().unwrap(), Dispatcher::new().unwrap());
    let (first, second) = (notifier(), notifier());
    let (token, count) = counted(&one.handle(), &first);
    let (_own, _) = counted(&other.handle(), &second);
    let handle = other.handle();
    for refused in [
        handle.remove(token).map(drop),
        handle.pause(token).map(drop),
        handle.resume(token),
    ] {
        let error = refused.unwrap_err();
        assert!(
            matches!(error, Error::OtherDispatcher { token: of, .. } if of == token),
            "{error}"
        );
    }
    drop(other);
    let error = handle.remove(token).unwrap_err();
    assert!(matches!(error, Error::OtherDispatcher { .. }), "{error}");
    first.notify().unwrap();
    one.run_once(None).unwrap();
    assert_eq!(count.signals(), 1);
}

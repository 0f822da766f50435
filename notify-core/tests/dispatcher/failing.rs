// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Handlers that fail are removed and reported; the others go on.

use std::num::NonZeroU64;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use notify_core::dispatcher::{
    Dispatcher, Error, Failure, Handler, HandlerError, PollHandler, PollLimits, Progress, Reason,
    Token,
};

use crate::support::{PATIENCE, counted, counting, expect_quiet_after, notifier, run, some};

fn reporting() -> (Dispatcher, Receiver<Failure>) {
    let (told, failures) = channel();
    let builder = Dispatcher::builder().on_failure(move |failure| told.send(failure).unwrap());
    (builder.build().unwrap(), failures)
}

#[test]
fn an_error_and_a_panic_are_reported_and_the_others_go_on() {
    let (dispatcher, failures) = reporting();
    let handle = dispatcher.handle();
    let (error, panics, fine) = (notifier(), notifier(), notifier());
    let own = Arc::clone(&error);
    let failing = move |_| {
        own.notify()?;
        Err("no ring there".into())
    };
    let error_token = handle.add(Arc::clone(&error), failing).unwrap();
    let panic_token = handle
        .add(Arc::clone(&panics), |_| panic!("no ring {}", 7))
        .unwrap();
    let (_, count) = counted(&handle, &fine);
    for notifier in [&error, &panics, &fine] {
        (0..2).for_each(|_| notifier.notify().unwrap());
    }
    expect_quiet_after(&dispatcher, 1);
    assert_eq!(count.signals(), 2);

    let mut failures: Vec<_> = failures.try_iter().collect();
    failures.sort_by_key(|failure| failure.token == panic_token);
    let [first, second] = &failures[..] else {
        panic!("{failures:?}");
    };
    assert_eq!((first.token, second.token), (error_token, panic_token));
    assert!(Arc::ptr_eq(first.notifier.as_ref().unwrap(), &error));
    assert!(matches!(first.reason, Reason::Error(_)));
    assert_eq!(first.reason.to_string(), "no ring there");
    assert_eq!((first.signalled, first.pending), (some(2), some(1)));
    assert!(matches!(second.reason, Reason::Panic(_)));
    assert_eq!(second.reason.to_string(), "panicked: no ring 7");
    assert_eq!((second.signalled, second.pending), (some(2), None));

    for token in [error_token, panic_token] {
        assert!(matches!(handle.remove(token), Err(Error::NoHandler { .. })));
    }
    drop(failures);
    for notifier in [&error, &panics] {
        assert_eq!(Arc::strong_count(notifier), 1);
        notifier.notify().unwrap();
    }
    fine.notify().unwrap();
    expect_quiet_after(&dispatcher, 1);
    assert_eq!(count.signals(), 3);
}

/// There is no callback that could handle the failures.
#[test]
fn signals_that_came_meanwhile_stay_in_the_counter_where_a_failure_is_logged() {
    let dispatcher = Dispatcher::new().unwrap();
    let notifier = notifier();
    let own = Arc::clone(&notifier);
    let failing = move |_| {
        (0..3).try_for_each(|_| own.notify())?;
        Err("no ring there".into())
    };
    dispatcher
        .handle()
        .add(Arc::clone(&notifier), failing)
        .unwrap();
    notifier.notify().unwrap();
    expect_quiet_after(&dispatcher, 1);
    assert_eq!(notifier.consume().unwrap(), some(3));
}

#[test]
fn the_callback_may_put_another_handler_in_its_place() {
    let handle: Arc<Mutex<Option<notify_core::dispatcher::DispatcherHandle>>> = Arc::default();
    let (count, inner) = (
        Arc::new(crate::support::Count::default()),
        Arc::clone(&handle),
    );
    let counter = Arc::clone(&count);
    let builder = Dispatcher::builder().on_failure(move |failure| {
        let handle = inner.lock().unwrap();
        let add = handle.as_ref().unwrap().add(
            Arc::clone(failure.notifier.as_ref().unwrap()),
            counting(&counter),
        );
        add.unwrap();
    });
    let dispatcher = builder.build().unwrap();
    *handle.lock().unwrap() = Some(dispatcher.handle());
    let notifier = notifier();
    dispatcher
        .handle()
        .add(Arc::clone(&notifier), |_| Err("once".into()))
        .unwrap();
    notifier.notify().unwrap();
    expect_quiet_after(&dispatcher, 1);
    notifier.notify().unwrap();
    expect_quiet_after(&dispatcher, 1);
    assert_eq!(count.signals(), 1);
}

/// A caller that removes a handler that fails meanwhile gets what is pending, once.
#[test]
fn a_handler_that_fails_while_it_is_removed() {
    let (dispatcher, failures) = reporting();
    let handle = dispatcher.handle();
    let notifier = notifier();
    let (began, begun) = channel();
    let (own, inner, name) = (Arc::clone(&notifier), handle.clone(), Arc::default());
    let token: Arc<Mutex<Option<Token>>> = Arc::clone(&name);
    let add = handle.add(Arc::clone(&notifier), move |_| {
        began.send(())?;
        let token = token.lock().unwrap().unwrap();
        // Until the removal waits for this call.
        while inner.resume(token).is_ok() {
            thread::yield_now();
        }
        own.notify()?;
        Err("too late".into())
    });
    let token = add.unwrap();
    *name.lock().unwrap() = Some(token);
    thread::scope(|scope| {
        let running = scope.spawn(|| run(&dispatcher));
        notifier.notify().unwrap();
        begun.recv_timeout(PATIENCE).unwrap();
        assert_eq!(handle.remove(token).unwrap(), some(1));
        let failure = failures.recv_timeout(PATIENCE).unwrap();
        assert_eq!((failure.signalled, failure.pending), (some(1), None));
        handle.stop().unwrap();
        running.join().unwrap();
    });
}

#[test]
fn a_handler_that_panics_when_it_is_dropped() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let (dispatcher, failures) = reporting();
    let handle = dispatcher.handle();
    let (first, second) = (notifier(), notifier());
    let armed = |notifier, fails: bool| {
        let bomb = Bomb;
        let add = handle.add(notifier, move |_| {
            let _ = &bomb;
            if fails { Err("fails".into()) } else { Ok(()) }
        });
        add.unwrap()
    };
    let token = armed(Arc::clone(&first), false);
    let removed = panic::catch_unwind(AssertUnwindSafe(|| handle.remove(token)));
    assert!(removed.is_err());
    assert!(matches!(handle.remove(token), Err(Error::NoHandler { .. })));
    armed(Arc::clone(&second), true);
    second.notify().unwrap();
    expect_quiet_after(&dispatcher, 1);
    assert_eq!(failures.try_iter().count(), 1);
    armed(Arc::clone(&first), false);
    drop(dispatcher);
}

/// Its panic leaves the run, at whose end another handler fails.
#[test]
fn a_callback_that_panics_for_two_that_are_polled() {
    struct Ring {
        begun: Arc<AtomicU32>,
        fails: bool,
    }
    impl Handler for Ring {
        fn handle(&mut self, _: NonZeroU64) -> Result<(), HandlerError> {
            Ok(())
        }
    }
    impl PollHandler for Ring {
        fn poll(&mut self) -> Progress {
            match self.fails && self.begun.load(Ordering::SeqCst) == 3 {
                true => Progress::Failed("fails".into()),
                false => Progress::None,
            }
        }
        fn begin_polling(&mut self) {
            self.begun.fetch_add(1, Ordering::SeqCst);
        }
        fn end_polling(&mut self) {
            self.begun.fetch_sub(1, Ordering::SeqCst);
            assert!(self.fails, "it cannot end either");
        }
    }
    let mut limits = PollLimits::with_max(Duration::from_secs(3600));
    limits.grow = u32::MAX;
    let builder = Dispatcher::builder().poll_limits(limits);
    let builder = builder.on_failure(|_| panic!("the VMM's own"));
    let dispatcher = builder.build().unwrap();
    let (handle, begun) = (dispatcher.handle(), Arc::new(AtomicU32::new(0)));
    for fails in [false, false, true] {
        let (notifier, begun) = (notifier(), Arc::clone(&begun));
        handle
            .add_polled(Arc::clone(&notifier), Ring { begun, fails })
            .unwrap();
        notifier.notify().unwrap();
    }
    expect_quiet_after(&dispatcher, 1);
    let run = || dispatcher.run_once(Some(Duration::from_secs(1)));
    assert!(panic::catch_unwind(AssertUnwindSafe(run)).is_err());
    assert_eq!(begun.load(Ordering::SeqCst), 0, "no kicks stay suppressed");
}

#[test]
fn a_callback_that_panics_does_not_end_the_dispatcher() {
    let builder = Dispatcher::builder().on_failure(|_| panic!("the VMM's own"));
    let dispatcher = builder.build().unwrap();
    let handle = dispatcher.handle();
    let (bad, good) = (notifier(), notifier());
    handle
        .add(Arc::clone(&bad), |_| Err("fails".into()))
        .unwrap();
    let (_, count) = counted(&handle, &good);
    bad.notify().unwrap();
    good.notify().unwrap();
    let run = panic::catch_unwind(AssertUnwindSafe(|| dispatcher.run_once(None)));
    assert!(run.is_err());
    expect_quiet_after(&dispatcher, 1);
    assert_eq!(count.signals(), 1);
}

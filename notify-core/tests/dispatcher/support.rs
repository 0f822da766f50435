// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The vocabulary of these tests.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use notify_core::EventNotifier;
use notify_core::dispatcher::{Dispatcher, DispatcherHandle, HandlerError, Token, Turn};

pub(crate) fn notifier() -> Arc<EventNotifier> {
    Arc::new(EventNotifier::new().unwrap())
}

/// Counts the signals that a handler received, and its calls.
#[derive(Debug, Default)]
pub(crate) struct Count {
    pub(crate) signals: AtomicU64,
    pub(crate) calls: AtomicU64,
}

impl Count {
    pub(crate) fn add(&self, signalled: NonZeroU64) {
        self.signals.fetch_add(signalled.get(), Ordering::SeqCst);
        self.calls.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn signals(&self) -> u64 {
        self.signals.load(Ordering::SeqCst)
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }
}

/// A handler that counts.
pub(crate) fn counting(
    count: &Arc<Count>,
) -> impl FnMut(NonZeroU64) -> Result<(), HandlerError> + Send + 'static {
    let count = Arc::clone(count);
    move |signalled| {
        count.add(signalled);
        Ok(())
    }
}

/// Adds a handler that counts.
pub(crate) fn counted(handle: &DispatcherHandle, on: &Arc<EventNotifier>) -> (Token, Arc<Count>) {
    let count = Arc::new(Count::default());
    (handle.add(Arc::clone(on), counting(&count)).unwrap(), count)
}

/// Runs everything that is ready, without waiting.
#[track_caller]
pub(crate) fn expect_quiet_after(dispatcher: &Dispatcher, turns: usize) {
    for turn in 0..turns {
        let worked = dispatcher.run_once(Some(Duration::ZERO)).unwrap();
        assert!(
            matches!(worked, Turn::Worked(_)),
            "{worked:?} in turn {turn}"
        );
    }
    let worked = dispatcher.run_once(Some(Duration::ZERO)).unwrap();
    assert_eq!(worked, Turn::TimedOut);
}

/// Runs the dispatcher until it is stopped, and fails if it does not stop.
#[track_caller]
pub(crate) fn run(dispatcher: &Dispatcher) {
    loop {
        match dispatcher.run_once(Some(PATIENCE)).unwrap() {
            Turn::Worked(_) => {}
            Turn::Stopped => return,
            turn => panic!("nothing happens any more: {turn:?}"),
        }
    }
}

pub(crate) use kvm_test::{PATIENCE, wait_until};

pub(crate) fn some(count: u64) -> Option<NonZeroU64> {
    Some(NonZeroU64::new(count).unwrap())
}

/// Runs `act` while another thread runs the dispatcher, and stops that thread even if `act` panics.
pub(crate) fn while_it_runs<R>(
    dispatcher: &Dispatcher,
    act: impl FnOnce(&DispatcherHandle) -> R,
) -> R {
    struct Stop(DispatcherHandle);
    impl Drop for Stop {
        fn drop(&mut self) {
            self.0.stop().unwrap();
        }
    }
    thread::scope(|scope| {
        let running = scope.spawn(|| dispatcher.run());
        let stop = Stop(dispatcher.handle());
        let result = act(&stop.0);
        drop(stop);
        running.join().unwrap().unwrap();
        result
    })
}

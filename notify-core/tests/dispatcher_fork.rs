// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A child process has its parent's dispatcher, and changes nothing by it. This is a program of its
//! own, since it forks: no thread of another test holds a lock of the allocator meanwhile.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use notify_core::EventNotifier;
use notify_core::dispatcher::{
    Dispatcher, Error, Handler, HandlerError, PollHandler, PollLimits, Progress, Turn,
};

#[derive(Default)]
struct Counts {
    signals: AtomicU64,
    begins: AtomicU64,
    ends: AtomicU64,
    drops: AtomicU64,
    readable: AtomicU64,
}

struct Polled(Arc<Counts>);

impl Handler for Polled {
    fn handle(&mut self, signalled: NonZeroU64) -> Result<(), HandlerError> {
        self.0.signals.fetch_add(signalled.get(), Ordering::SeqCst);
        Ok(())
    }
}

impl PollHandler for Polled {
    fn poll(&mut self) -> Progress {
        Progress::None
    }

    fn begin_polling(&mut self) {
        self.0.begins.fetch_add(1, Ordering::SeqCst);
    }

    fn end_polling(&mut self) {
        self.0.ends.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Polled {
    fn drop(&mut self) {
        self.0.drops.fetch_add(1, Ordering::SeqCst);
    }
}

/// The actions of a child that inherits the dispatcher. Returns what went wrong.
fn in_the_child(
    dispatcher: Dispatcher,
    notifier: &Arc<EventNotifier>,
    token: notify_core::dispatcher::Token,
    counts: &Counts,
) -> Option<&'static str> {
    let handle = dispatcher.handle();
    let refused = |result: Result<(), Error>| matches!(result, Err(Error::Inherited));
    if !refused(handle.remove(token).map(drop)) {
        return Some("remove");
    }
    if !refused(handle.pause(token).map(drop)) {
        return Some("pause");
    }
    if !refused(handle.resume(token)) {
        return Some("resume");
    }
    let other = Arc::new(EventNotifier::new().unwrap());
    for notifier in [notifier, &other] {
        if !refused(
            handle
                .add(Arc::clone(notifier), |_| Ok(()))
                .map(drop)
                .map_err(Error::from),
        ) {
            return Some("add");
        }
    }
    if !refused(
        handle
            .add_fd(Arc::clone(&other), |_| Ok(()))
            .map(drop)
            .map_err(Error::from),
    ) {
        return Some("add_fd");
    }
    if !refused(dispatcher.run()) {
        return Some("run");
    }
    if !refused(dispatcher.run_once(Some(Duration::ZERO)).map(drop)) {
        return Some("run_once");
    }
    drop(dispatcher);
    if counts.drops.load(Ordering::SeqCst) != 1 {
        return Some("the handler was not dropped");
    }
    if counts.ends.load(Ordering::SeqCst) != 0 {
        return Some("a callback of the parent's peer was called");
    }
    None
}

#[test]
#[allow(
    unsafe_code,
    reason = "fork(2) is unsafe in a process that may have threads"
)]
fn a_child_process_changes_nothing_for_its_parent() {
    let mut limits = PollLimits::with_max(Duration::from_secs(1));
    limits.grow = 1_000_000;
    let dispatcher = Dispatcher::builder().poll_limits(limits).build().unwrap();
    let (notifier, counts) = (
        Arc::new(EventNotifier::new().unwrap()),
        Arc::new(Counts::default()),
    );
    let polled = Polled(Arc::clone(&counts));
    let token = dispatcher
        .handle()
        .add_polled(Arc::clone(&notifier), polled)
        .unwrap();
    let (other, calls) = (Arc::new(EventNotifier::new().unwrap()), Arc::clone(&counts));
    let add = dispatcher.handle().add_fd(Arc::clone(&other), move |_| {
        calls.readable.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    add.unwrap();
    // SAFETY: the child uses only memory and file descriptors of its own. The only other thread of
    // this process waits for the test, with no lock held.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let wrong = in_the_child(dispatcher, &notifier, token, &counts);
            if let Some(wrong) = wrong {
                eprintln!("in the child: {wrong}");
            }
            // SAFETY: it ends the process at once, without running the parent's exit handlers.
            unsafe { nix::libc::_exit(i32::from(wrong.is_some())) }
        }
        ForkResult::Parent { child } => {
            assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
        }
    }
    assert!(!notifier.is_signalled().unwrap(), "the child signalled");
    notifier.notify().unwrap();
    let patience = Some(Duration::from_secs(20));
    assert_eq!(dispatcher.run_once(patience).unwrap(), Turn::Worked(1));
    assert_eq!(counts.signals.load(Ordering::SeqCst), 1);
    other.notify().unwrap();
    assert_eq!(dispatcher.run_once(patience).unwrap(), Turn::Worked(1));
    assert_eq!(counts.readable.load(Ordering::SeqCst), 1);
}

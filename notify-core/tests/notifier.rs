// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The contract of an [`EventNotifier`], on real eventfds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::os::fd::AsRawFd;
use std::os::unix::thread::JoinHandleExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::pthread::{Pthread, pthread_kill};
use nix::sys::signal;
use notify_core::{EventFd, EventFdMode, EventNotifier};
use vmm_sys_util::event::{
    EventConsumer, EventFlag, EventNotifier as EventWriter, new_event_consumer_and_notifier,
};

#[track_caller]
fn expect_count(notifier: &EventNotifier, count: u64) {
    assert_eq!(notifier.consume().unwrap().map(u64::from), Some(count));
    assert_eq!(
        notifier.consume().unwrap(),
        None,
        "the counter was taken whole"
    );
}

#[test]
fn signals_add_up_and_are_taken_at_once() {
    let notifier = EventNotifier::new().unwrap();
    assert_eq!(notifier.consume().unwrap(), None);
    for _ in 0..3 {
        notifier.notify().unwrap();
    }
    assert!(notifier.is_signalled().unwrap());
    assert!(notifier.is_signalled().unwrap(), "looking takes nothing");
    expect_count(&notifier, 3);
    assert!(!notifier.is_signalled().unwrap());
}

#[test]
fn created_non_blocking_and_close_on_exec() {
    let notifier = EventNotifier::new().unwrap();
    let status = fcntl(&notifier, FcntlArg::F_GETFL).unwrap();
    assert_ne!(status & libc::O_NONBLOCK, 0);
    assert_eq!(
        fcntl(&notifier, FcntlArg::F_GETFD).unwrap(),
        libc::FD_CLOEXEC
    );
}

#[test]
fn initial_value() {
    expect_count(&EventNotifier::builder().initial(7).build().unwrap(), 7);
}

#[test]
fn semaphore_gives_one_at_a_time() {
    let notifier = EventNotifier::builder()
        .semaphore(true)
        .initial(2)
        .build()
        .unwrap();
    assert_eq!(notifier.mode(), EventFdMode::Semaphore);
    assert_eq!(notifier.consume().unwrap().map(u64::from), Some(1));
    expect_count(&notifier, 1);
}

#[test]
fn a_full_counter_is_a_pending_signal() {
    let notifier = EventNotifier::new().unwrap();
    let eventfd: &EventFd = notifier.as_ref();
    eventfd.write(u64::MAX - 1).unwrap();
    notifier.notify().unwrap();
    assert!(!notifier.try_notify().unwrap());
    expect_count(&notifier, u64::MAX - 1);
    assert!(notifier.try_notify().unwrap());
    expect_count(&notifier, 1);
}

#[test]
fn wait_takes_what_comes_and_gives_up_in_time() {
    let notifier = Arc::new(EventNotifier::new().unwrap());
    let before = Instant::now();
    assert_eq!(
        notifier.wait(Some(Duration::from_millis(20))).unwrap(),
        None
    );
    assert!(before.elapsed() >= Duration::from_millis(20));

    let signaller = Arc::clone(&notifier);
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        signaller.notify().unwrap();
    });
    assert_eq!(notifier.wait(None).unwrap().map(u64::from), Some(1));
    thread.join().unwrap();

    notifier.notify().unwrap();
    assert_eq!(
        notifier.wait(Some(Duration::ZERO)).unwrap().map(u64::from),
        Some(1)
    );
    notifier.notify().unwrap();
    let forever = Some(Duration::MAX);
    assert_eq!(notifier.wait(forever).unwrap().map(u64::from), Some(1));
}

/// A wake-up without a signal must not restart the timeout.
#[test]
fn wait_gives_up_in_time_though_another_takes_every_signal() {
    let notifier = Arc::new(EventNotifier::new().unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let noise = {
        let (notifier, stop) = (Arc::clone(&notifier), Arc::clone(&stop));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                notifier.notify().unwrap();
                notifier.consume().unwrap();
            }
        })
    };
    for _ in 0..20 {
        // The wait may succeed now and then; the test is that it returns.
        notifier.wait(Some(Duration::from_millis(5))).unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    noise.join().unwrap();
}

/// A handler that does nothing, so that the signal interrupts a system call and does not kill the
/// process.
extern "C" fn nothing(_: libc::c_int) {}

#[test]
#[allow(unsafe_code, reason = "installing a signal handler is unsafe")]
fn wait_goes_on_after_a_signal_of_the_process_and_for_no_longer() {
    let action = signal::SigAction::new(
        signal::SigHandler::Handler(nothing),
        signal::SaFlags::empty(),
        signal::SigSet::empty(),
    );
    // SAFETY: the handler does nothing, which is safe in any context.
    unsafe { signal::sigaction(signal::Signal::SIGUSR1, &action) }.unwrap();
    let (told, result) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let waiting = std::thread::spawn(move || {
        let notifier = EventNotifier::new().unwrap();
        let before = Instant::now();
        let taken = notifier.wait(Some(Duration::from_millis(100))).unwrap();
        told.send((taken, before.elapsed())).unwrap();
        // Exists for as long as the other thread sends signals.
        let _ = ended.recv();
    });
    // One signal each 10 ms until the wait returns. If each signal restarted the timeout, it never
    // would.
    let before = Instant::now();
    let (taken, waited) = loop {
        pthread_kill(waiting.as_pthread_t() as Pthread, signal::Signal::SIGUSR1).unwrap();
        match result.recv_timeout(Duration::from_millis(10)) {
            Ok(result) => break result,
            Err(_) => assert!(before.elapsed() < kvm_test::PATIENCE, "it still waits"),
        }
    };
    drop(end);
    waiting.join().unwrap();
    assert_eq!(taken, None);
    assert!(waited >= Duration::from_millis(100));
}

#[test]
fn clones_share_the_counter() {
    let notifier = EventNotifier::new().unwrap();
    let clone = notifier.try_clone().unwrap();
    notifier.notify().unwrap();
    expect_count(&clone, 1);
    assert_eq!(notifier.consume().unwrap(), None);
}

/// A peer in another process has the same open file and may do this at any time.
#[test]
fn the_other_holder_cannot_make_us_hang() {
    let notifier = EventNotifier::new().unwrap();
    let peer = notifier.try_clone().unwrap();
    let flags = OFlag::from_bits_retain(fcntl(&peer, FcntlArg::F_GETFL).unwrap());
    fcntl(&peer, FcntlArg::F_SETFL(flags & !OFlag::O_NONBLOCK)).unwrap();

    assert_eq!(notifier.consume().unwrap(), None);
    assert!(!notifier.is_signalled().unwrap());
    assert_eq!(notifier.wait(Some(Duration::from_millis(5))).unwrap(), None);
    notifier.notify().unwrap();
    expect_count(&notifier, 1);
}

#[test]
fn the_pair_of_vmm_sys_util_there_and_back() {
    let (consumer, writer) = new_event_consumer_and_notifier(EventFlag::empty()).unwrap();
    writer.notify().unwrap();
    let notifier = EventNotifier::try_from((consumer, writer)).unwrap();
    expect_count(&notifier, 1);

    let (consumer, writer): (EventConsumer, EventWriter) = notifier.try_into().unwrap();
    writer.notify().unwrap();
    consumer.consume().unwrap();
}

#[test]
fn two_halves_of_two_eventfds_are_refused() {
    let (consumer, _lost) = new_event_consumer_and_notifier(EventFlag::NONBLOCK).unwrap();
    let (_lost, writer) = new_event_consumer_and_notifier(EventFlag::NONBLOCK).unwrap();
    let (read, write) = (consumer.as_raw_fd(), writer.as_raw_fd());
    let rejected = EventNotifier::try_from((consumer, writer)).unwrap_err();
    let expected = format!("file descriptors {read} and {write} are not the same eventfd");
    assert_eq!(rejected.error.to_string(), expected);
    assert_eq!(
        (rejected.value.0.as_raw_fd(), rejected.value.1.as_raw_fd()),
        (read, write)
    );
}

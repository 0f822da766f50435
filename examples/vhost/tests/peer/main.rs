// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Vrings over a real vhost-user connection, with daemons that fail, disobey and attack.
//!
//! The trials run one after the other, since some count the file descriptors of the process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unsafe_code,
    missing_docs
)]

mod daemon;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use daemon::request::{
    GET_FEATURES, GET_VRING_BASE, SET_VRING_CALL, SET_VRING_ENABLE, SET_VRING_ERR, SET_VRING_KICK,
};
use daemon::{Daemon, Next, negotiated};
use kvm_test::{anywhere, open_fds};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use notify_core::vring::{VringError, Vrings};
use notify_core::{EventFd, EventNotifier, NotifierPair};
use vhost::vhost_user::Frontend;

fn main() -> ExitCode {
    kvm_test::main(vec![
        anywhere("a_kick_follows_the_confirmation_of_the_start", confirmed),
        anywhere("a_stop_returns_bases_and_kicks", stopped),
        anywhere("a_daemon_that_closes_at_any_request_is_an_error", closing),
        anywhere("a_daemon_without_a_reply_is_ended_from_outside", silent),
        anywhere("calls_that_a_dead_daemon_owes_are_made_up_for", owed),
        anywhere("full_counters_without_o_nonblock_block_nothing", filled),
        anywhere("a_running_daemon_gets_another_call", exchanged),
        anywhere("reconnecting_leaves_no_descriptor_open", reconnecting),
    ])
}

fn two() -> Vrings<Frontend> {
    Vrings::new([NotifierPair::new().unwrap(), NotifierPair::new().unwrap()]).unwrap()
}

fn kick(vrings: &Vrings<Frontend>, ring: usize) -> &Arc<EventNotifier> {
    &vrings.pair(ring).unwrap().host_notifier
}

fn call(vrings: &Vrings<Frontend>, ring: usize) -> &Arc<EventNotifier> {
    &vrings.pair(ring).unwrap().guest_notifier
}

fn count(notifier: &EventNotifier) -> u64 {
    notifier.consume().unwrap().map_or(0, u64::from)
}

/// A daemon polls a ring's kick from SET_VRING_KICK on, and consumes kicks that come before the
/// ring is enabled. So none of our kicks may come before the daemon has enabled the ring, however
/// slow it is.
fn confirmed() {
    let early = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&early);
    let (frontend, daemon) = negotiated(move |request, given| {
        if request == SET_VRING_ENABLE {
            thread::sleep(Duration::from_millis(20));
            let kicks: u64 = given.kicks.iter().map(count).sum();
            seen.fetch_add(kicks, Ordering::Relaxed);
        }
        Next::Obey
    });
    let mut vrings = two();
    vrings.start(frontend).unwrap();
    assert_eq!(early.load(Ordering::Relaxed), 0);
    assert_eq!([0, 1].map(|ring| count(kick(&vrings, ring))), [1, 1]);
    assert_eq!(daemon.end().kicks.len(), 2);
}

fn stopped() {
    let (frontend, _daemon) = negotiated(|_, _| Next::Obey);
    let mut vrings = two();
    vrings.start(frontend).unwrap();
    assert_eq!([0, 1].map(|ring| count(kick(&vrings, ring))), [1, 1]);
    kick(&vrings, 1).notify().unwrap();
    let stopped = vrings.stop().unwrap();
    let rings: Vec<_> = stopped
        .rings
        .iter()
        .map(|ring| (ring.base, ring.kicked))
        .collect();
    assert_eq!(rings, [(7, false), (7, true)]);
}

fn closing() {
    let at = [
        SET_VRING_ERR,
        SET_VRING_CALL,
        SET_VRING_KICK,
        SET_VRING_ENABLE,
        GET_FEATURES,
    ];
    for last in at {
        let mut features = 0;
        let (frontend, _daemon) = negotiated(move |request, _| {
            // The first such request negotiates.
            features += u32::from(request == GET_FEATURES);
            if request == last && (request != GET_FEATURES || features > 1) {
                return Next::Close;
            }
            Next::Obey
        });
        let mut vrings = two();
        kick(&vrings, 0).notify().unwrap();
        let rejected = vrings.start(frontend).unwrap_err();
        assert!(
            matches!(
                rejected.error,
                VringError::SetNotifier { .. } | VringError::Start { .. }
            ),
            "{last}: {}",
            rejected.error
        );
        assert_eq!(
            [0, 1].map(|ring| count(kick(&vrings, ring))),
            [2, 1],
            "{last}"
        );
        let (frontend, _daemon) = negotiated(|_, _| Next::Obey);
        vrings.start(frontend).unwrap();
    }
}

/// The `vhost` crate waits on after a time-out of the socket; a shutdown ends the wait.
fn silent() {
    let mut features = 0;
    let (frontend, daemon) = negotiated(move |request, _| {
        features += u32::from(request == GET_FEATURES);
        if features > 1 {
            Next::Silent
        } else {
            Next::Obey
        }
    });
    let mut vrings = two();
    let stream = daemon.stream();
    let watchdog = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        Daemon::disconnect(&stream);
    });
    vrings.start(frontend).unwrap_err();
    watchdog.join().unwrap();
    assert!(vrings.backend().is_none());
}

/// A daemon that dies after it has used a buffer, and before it signals the call.
fn owed() {
    let dies = |request, _: &mut _| {
        if request == GET_VRING_BASE {
            Next::Close
        } else {
            Next::Obey
        }
    };
    let (frontend, _daemon) = negotiated(dies);
    let mut vrings = two();
    vrings.start(frontend).unwrap();
    assert!(matches!(vrings.stop(), Err(VringError::Stop { .. })));
    vrings.abandon().unwrap();
    assert_eq!([0, 1].map(|ring| count(call(&vrings, ring))), [0, 0]);
    let (frontend, _daemon) = negotiated(|_, _| Next::Obey);
    vrings.start(frontend).unwrap();
    assert_eq!([0, 1].map(|ring| count(call(&vrings, ring))), [1, 1]);
    assert_eq!([0, 1].map(|ring| count(kick(&vrings, ring))), [2, 2]);
}

/// A daemon that makes the shared eventfds blocking, and fills their counters.
fn filled() {
    let fill = |notifier: &EventNotifier| {
        let flags = OFlag::from_bits_retain(fcntl(notifier, FcntlArg::F_GETFL).unwrap());
        fcntl(notifier, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK)).unwrap();
        notifier.consume().unwrap();
        let eventfd: &EventFd = notifier.as_ref();
        eventfd.write(u64::MAX - 1).unwrap();
    };
    let (frontend, _daemon) = negotiated(move |request, given| {
        if request == SET_VRING_ENABLE {
            given.kicks.iter().chain(&given.calls).for_each(fill);
        }
        Next::Obey
    });
    let mut vrings = two();
    vrings.start(frontend).unwrap();
    assert_eq!([0, 1].map(|ring| count(kick(&vrings, ring))), [1, 1]);
    fill(kick(&vrings, 0));
    let stopped = vrings.stop().unwrap();
    assert!(stopped.rings[0].kicked);
    // The calls are full as well: a start that has to signal them succeeds all the same.
    vrings.start(stopped.backend).unwrap();
    vrings.abandon();
    fill(call(&vrings, 0));
    let (frontend, _daemon) = negotiated(|_, _| Next::Obey);
    vrings.start(frontend).unwrap();
    assert_eq!(count(call(&vrings, 0)), 1);
}

fn exchanged() {
    let (frontend, daemon) = negotiated(|_, _| Next::Obey);
    let mut vrings = two();
    vrings.start(frontend).unwrap();
    let kept = Arc::clone(kick(&vrings, 1));
    let new = NotifierPair {
        host_notifier: kept,
        ..NotifierPair::new().unwrap()
    };
    vrings.set_pair(1, new.clone()).unwrap();
    let given = daemon.end();
    assert_eq!((given.kicks.len(), given.calls.len()), (2, 3));
    given.calls[2].notify().unwrap();
    assert_eq!(count(&new.guest_notifier), 1);
}

fn reconnecting() {
    let mut vrings = two();
    let before = open_fds().unwrap();
    for round in 0..300 {
        let (frontend, daemon) = negotiated(|_, _| Next::Obey);
        let pair = NotifierPair::new().unwrap();
        vrings.set_pair(round % 2, pair).unwrap();
        vrings.start(frontend).unwrap();
        drop(vrings.abandon());
        daemon.end();
    }
    assert_eq!(open_fds().unwrap(), before);
}

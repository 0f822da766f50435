// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The contract of `Vrings`, on a back-end that records its requests and refuses one on demand.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::io;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use notify_core::vring::{VringBackend, VringError, Vrings};
use notify_core::{EventNotifier, NotifierPair};

/// The state that the test and its back-end share.
#[derive(Debug, Default)]
struct Log {
    requests: Vec<String>,
    /// The request to refuse, by its text.
    refuse: Option<String>,
}

/// A back-end that keeps duplicates of its eventfds, as the kernel does.
#[derive(Debug, Default)]
struct Fake {
    log: Arc<Mutex<Log>>,
    kicks: Vec<EventNotifier>,
    /// Takes kicks before it runs, and drops them.
    uses_early_kicks_up: bool,
    /// Returns so many bases too few.
    bases_short: usize,
}

impl Fake {
    fn new() -> (Self, Arc<Mutex<Log>>) {
        let fake = Self::default();
        let log = Arc::clone(&fake.log);
        (fake, log)
    }

    fn request(&self, text: String) -> io::Result<()> {
        let mut log = self.log.lock().unwrap();
        log.requests.push(text.clone());
        if log.refuse.as_ref() == Some(&text) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl VringBackend for Fake {
    fn set_kick(&mut self, ring: usize, kick: &EventNotifier) -> io::Result<()> {
        self.request(format!("kick {ring}"))?;
        self.kicks
            .push(EventNotifier::adopt_borrowed(kick).unwrap());
        Ok(())
    }

    fn set_call(&mut self, ring: usize, _: &EventNotifier) -> io::Result<()> {
        self.request(format!("call {ring}"))
    }

    fn set_err(&mut self, ring: usize, _: &EventNotifier) -> io::Result<()> {
        self.request(format!("err {ring}"))
    }

    fn start(&mut self, rings: usize) -> io::Result<()> {
        if self.uses_early_kicks_up {
            self.kicks.iter().for_each(|kick| {
                kick.consume().unwrap();
            });
        }
        self.request(format!("start {rings}"))
    }

    fn stop(&mut self, rings: usize) -> io::Result<Vec<u32>> {
        self.request(format!("stop {rings}"))?;
        Ok((40..).take(rings - self.bases_short).collect())
    }
}

fn pair() -> NotifierPair {
    NotifierPair::new().unwrap()
}

fn pair_of(kick: &Arc<EventNotifier>, call: &Arc<EventNotifier>) -> NotifierPair {
    NotifierPair {
        host_notifier: Arc::clone(kick),
        guest_notifier: Arc::clone(call),
    }
}

fn with_kick(host_notifier: Arc<EventNotifier>) -> NotifierPair {
    NotifierPair {
        host_notifier,
        ..pair()
    }
}

fn count(notifier: &EventNotifier) -> u64 {
    notifier.consume().unwrap().map_or(0, u64::from)
}

fn kicks(vrings: &Vrings<Fake>) -> Vec<u64> {
    let of = |ring| vrings.pair(ring).map(|pair| count(&pair.host_notifier));
    (0..).map_while(of).collect()
}

fn calls(vrings: &Vrings<Fake>) -> Vec<u64> {
    let of = |ring| vrings.pair(ring).map(|pair| count(&pair.guest_notifier));
    (0..).map_while(of).collect()
}

fn requests(log: &Mutex<Log>) -> Vec<String> {
    std::mem::take(&mut log.lock().unwrap().requests)
}

fn two() -> Vrings<Fake> {
    Vrings::new([pair(), pair()]).unwrap()
}

#[test]
fn a_start_sets_all_eventfds_then_starts_then_kicks() {
    let (fake, log) = Fake::new();
    let mut vrings = two();
    vrings.start(fake).unwrap();
    let order = "err 0, call 0, kick 0, err 1, call 1, kick 1, start 2";
    assert_eq!(requests(&log).join(", "), order);
    assert_eq!(kicks(&vrings), [1, 1]);
    assert_eq!(calls(&vrings), [0, 0]);
}

/// The fault of back-ends that poll a ring before it is enabled.
#[test]
fn a_back_end_that_uses_early_kicks_up_is_kicked_again() {
    let (mut fake, _) = Fake::new();
    fake.uses_early_kicks_up = true;
    let mut vrings = two();
    vrings.pair(1).unwrap().host_notifier.notify().unwrap();
    vrings.start(fake).unwrap();
    assert_eq!(kicks(&vrings), [1, 1]);
}

/// A queue that was pending when its VM was saved, and that the guest does not kick again.
#[test]
fn each_start_kicks_what_may_be_pending() {
    let (fake, _) = Fake::new();
    let mut vrings = two();
    vrings.start(fake).unwrap();
    assert_eq!(kicks(&vrings), [1, 1]);
    let stopped = vrings.stop().unwrap();
    vrings.start(stopped.backend).unwrap();
    assert_eq!(kicks(&vrings), [1, 1]);
}

#[test]
fn a_full_kick_counter_is_emptied_so_that_the_kick_is_heard() {
    let (fake, _) = Fake::new();
    let mut vrings = two();
    let kick = &vrings.pair(0).unwrap().host_notifier;
    kick.add(NonZeroU64::new(u64::MAX - 1).unwrap()).unwrap();
    vrings.start(fake).unwrap();
    assert_eq!(kicks(&vrings), [1, 1]);
}

/// A daemon that died has left it so: a write would block for ever.
#[test]
fn a_full_kick_counter_that_blocks_is_emptied_before_the_kick() {
    let mut vrings = two();
    let kick = Arc::clone(&vrings.pair(0).unwrap().host_notifier);
    kick.add(NonZeroU64::new(u64::MAX - 1).unwrap()).unwrap();
    fcntl(&*kick, FcntlArg::F_SETFL(OFlag::O_RDWR)).unwrap();
    vrings.start(Fake::new().0).unwrap();
    assert_eq!(kicks(&vrings), [1, 1]);
}

/// Back-ends may be other processes.
#[test]
fn what_a_back_end_gets_is_shared() {
    let private = || Arc::new(EventNotifier::builder().private(true).build().unwrap());
    let (kick, call, new) = (private(), private(), private());
    let mut vrings = Vrings::new([pair_of(&kick, &call)]).unwrap();
    assert!(kick.is_private() && call.is_private());
    vrings.start(Fake::new().0).unwrap();
    assert!(!kick.is_private() && !call.is_private());
    vrings.set_pair(0, pair_of(&kick, &new)).unwrap();
    assert!(!new.is_private());
}

/// A daemon that the guest's kick has woken reads the counter, and fails if it is empty.
#[test]
fn a_start_takes_no_kick_away() {
    let (fake, _) = Fake::new();
    let mut vrings = two();
    vrings.pair(0).unwrap().host_notifier.notify().unwrap();
    vrings.start(fake).unwrap();
    assert_eq!(kicks(&vrings), [2, 1]);
}

#[test]
fn a_stop_clears_the_kicks_and_reports_them_with_the_bases() {
    let (fake, _) = Fake::new();
    let mut vrings = two();
    vrings.start(fake).unwrap();
    assert_eq!(kicks(&vrings), [1, 1]);
    vrings.pair(1).unwrap().host_notifier.notify().unwrap();
    let stopped = vrings.stop().unwrap();
    let rings: Vec<_> = stopped
        .rings
        .iter()
        .map(|ring| (ring.base, ring.kicked))
        .collect();
    assert_eq!(rings, [(40, false), (41, true)]);
    assert_eq!(kicks(&vrings), [0, 0]);
    assert!(matches!(vrings.stop(), Err(VringError::NotStarted)));
}

#[test]
fn a_refused_start_returns_the_back_end_and_keeps_the_kicks() {
    let steps = "err 0, call 0, kick 0, err 1, call 1, kick 1, start 2";
    for step in steps.split(", ") {
        let (fake, log) = Fake::new();
        let mut vrings = two();
        vrings.pair(0).unwrap().host_notifier.notify().unwrap();
        log.lock().unwrap().refuse = Some(step.to_owned());
        let rejected = vrings.start(fake).unwrap_err();
        let text = rejected.error.to_string();
        let notifier = step.split(' ').next().unwrap();
        assert!(
            text.contains(&notifier.replace("err", "error")) || text.contains("did not start"),
            "{step}: {text}"
        );
        // One kick for each ring, in case the back-end has consumed some.
        assert_eq!(kicks(&vrings), [2, 1], "{step}");
        assert_eq!(requests(&log).last().unwrap(), "stop 2");
        // The failure has left nothing behind.
        log.lock().unwrap().refuse = None;
        vrings.start(rejected.value).unwrap();
        assert_eq!((kicks(&vrings), calls(&vrings)), (vec![1, 1], vec![1, 1]));
    }
}

#[test]
fn a_back_end_that_does_not_stop_keeps_the_rings_until_it_is_abandoned() {
    let (fake, log) = Fake::new();
    let mut vrings = two();
    vrings.start(fake).unwrap();
    log.lock().unwrap().refuse = Some("stop 2".to_owned());
    assert!(matches!(vrings.stop(), Err(VringError::Stop { .. })));
    assert_eq!(kicks(&vrings), [1, 1], "they are its kicks");
    assert!(vrings.backend().is_some());
    vrings.pair(1).unwrap().host_notifier.notify().unwrap();
    requests(&log);
    assert!(vrings.abandon().is_some());
    assert!(vrings.abandon().is_none());
    assert!(requests(&log).is_empty(), "it was not asked");
    // The next start looks at both rings, and the guest too.
    vrings.start(Fake::new().0).unwrap();
    assert_eq!((kicks(&vrings), calls(&vrings)), (vec![1, 2], vec![1, 1]));
    // It was for that start only.
    let stopped = vrings.stop().unwrap();
    vrings.start(stopped.backend).unwrap();
    assert_eq!(calls(&vrings), [0, 0]);
}

/// The calls stay due until a start has signalled them.
#[test]
fn a_start_that_fails_after_an_abandon_leaves_the_calls_to_the_next() {
    let mut vrings = two();
    vrings.start(Fake::new().0).unwrap();
    vrings.abandon();
    let (fake, log) = Fake::new();
    log.lock().unwrap().refuse = Some("start 2".to_owned());
    vrings.start(fake).unwrap_err();
    assert_eq!(calls(&vrings), [0, 0]);
    vrings.start(Fake::new().0).unwrap();
    assert_eq!(calls(&vrings), [1, 1]);
}

#[test]
fn bases_of_another_number_of_rings_are_no_stop() {
    let (mut fake, _) = Fake::new();
    fake.bases_short = 1;
    let mut vrings = two();
    vrings.start(fake).unwrap();
    let error = vrings.stop().unwrap_err();
    assert!(
        matches!(
            error,
            VringError::WrongBases {
                bases: 1,
                rings: 2,
                ..
            }
        ),
        "{error}"
    );
    assert!(vrings.backend().is_some());
}

/// QEMU once gave vhost the same kick twice.
#[test]
fn one_eventfd_has_one_use() {
    let (one, other) = (pair(), pair());
    let same_kick = pair_of(&one.host_notifier, &other.guest_notifier);
    let call_as_kick = pair_of(&one.guest_notifier, &other.guest_notifier);
    let kick_as_call = pair_of(&other.host_notifier, &one.host_notifier);
    for second in [same_kick, call_as_kick, kick_as_call] {
        let error = Vrings::<Fake>::new([one.clone(), second]).unwrap_err();
        let VringError::SharedNotifier {
            ring: 1, other: 0, ..
        } = error
        else {
            panic!("{error}");
        };
    }
    let itself = pair_of(&one.host_notifier, &one.host_notifier);
    let error = Vrings::<Fake>::new([itself]).unwrap_err();
    assert!(matches!(
        error,
        VringError::SharedNotifier {
            ring: 0,
            other: 0,
            ..
        }
    ));
    // Queues may share a vector.
    let shared_call = pair_of(&other.host_notifier, &one.guest_notifier);
    Vrings::<Fake>::new([one, shared_call]).unwrap();
}

#[test]
fn a_second_back_end_is_refused_while_one_runs() {
    let mut vrings = two();
    vrings.start(Fake::new().0).unwrap();
    let (second, log) = Fake::new();
    let rejected = vrings.start(second).unwrap_err();
    assert!(matches!(rejected.error, VringError::Started));
    assert!(requests(&log).is_empty());
}

fn with_call_of(old: &NotifierPair, new: &NotifierPair) -> NotifierPair {
    pair_of(&old.host_notifier, &new.guest_notifier)
}

#[test]
fn a_running_ring_gets_another_call_and_keeps_its_kick() {
    let (fake, log) = Fake::new();
    let mut vrings = two();
    vrings.start(fake).unwrap();
    requests(&log);
    let (old, new) = (vrings.pair(1).unwrap().clone(), pair());
    assert!(matches!(
        vrings.set_pair(1, new.clone()),
        Err(VringError::Started)
    ));
    assert!(requests(&log).is_empty());
    vrings.set_pair(1, with_call_of(&old, &new)).unwrap();
    assert_eq!(requests(&log), ["call 1"]);
    let call = &vrings.pair(1).unwrap().guest_notifier;
    assert!(Arc::ptr_eq(call, &new.guest_notifier));
    let error = vrings.set_pair(2, old.clone()).unwrap_err();
    assert!(matches!(
        error,
        VringError::NoSuchRing {
            ring: 2,
            rings: 2,
            ..
        }
    ));
    let error = vrings.set_pair(0, old).unwrap_err();
    assert!(matches!(
        error,
        VringError::SharedNotifier {
            ring: 0,
            other: 1,
            ..
        }
    ));
}

#[test]
fn a_semaphore_is_no_kick() {
    let kick = Arc::new(EventNotifier::builder().semaphore(true).build().unwrap());
    let pair = with_kick(kick);
    let error = two().set_pair(1, pair).unwrap_err();
    assert!(matches!(error, VringError::Semaphore { ring: 1, .. }));
}

#[test]
fn a_refused_hand_over_keeps_reported_errors() {
    let (fake, log) = Fake::new();
    let mut vrings = two();
    vrings.error_notifier(0).unwrap().notify().unwrap();
    log.lock().unwrap().refuse = Some("kick 1".to_owned());
    vrings.start(fake).unwrap_err();
    assert_eq!(vrings.failed().unwrap(), [0]);
}

#[test]
fn an_error_eventfd_is_no_kick() {
    let mut vrings = two();
    let err = Arc::clone(vrings.error_notifier(1).unwrap());
    let pair = with_kick(err);
    assert!(matches!(
        vrings.set_pair(0, pair),
        Err(VringError::SharedNotifier {
            ring: 0,
            other: 1,
            ..
        })
    ));
}

#[test]
fn an_idle_ring_gets_another_pair_without_a_request() {
    let mut vrings = two();
    let new = pair();
    vrings.set_pair(0, new.clone()).unwrap();
    assert_eq!(count(&new.host_notifier), 0);
    vrings.start(Fake::new().0).unwrap();
    assert_eq!(count(&new.host_notifier), 1);
}

#[test]
fn a_refused_call_leaves_the_old_pair() {
    let (fake, log) = Fake::new();
    let mut vrings = two();
    vrings.start(fake).unwrap();
    let old = vrings.pair(0).unwrap().clone();
    log.lock().unwrap().refuse = Some("call 0".to_owned());
    let error = vrings.set_pair(0, with_call_of(&old, &pair())).unwrap_err();
    assert!(matches!(error, VringError::SetNotifier { ring: 0, .. }));
    let call = &vrings.pair(0).unwrap().guest_notifier;
    assert!(Arc::ptr_eq(call, &old.guest_notifier));
}

#[test]
fn errors_are_reported_once_and_forgotten_at_a_start() {
    let mut vrings = two();
    vrings.start(Fake::new().0).unwrap();
    assert_eq!(vrings.failed().unwrap(), [0; 0]);
    vrings.error_notifier(1).unwrap().notify().unwrap();
    assert_eq!(vrings.failed().unwrap(), [1]);
    assert_eq!(vrings.failed().unwrap(), [0; 0]);
    vrings.error_notifier(0).unwrap().notify().unwrap();
    let stopped = vrings.stop().unwrap();
    vrings.start(stopped.backend).unwrap();
    assert_eq!(vrings.failed().unwrap(), [0; 0]);
    assert!(vrings.error_notifier(2).is_none());
}

#[test]
fn a_drop_stops_the_back_end() {
    let (fake, log) = Fake::new();
    let mut vrings = two();
    vrings.start(fake).unwrap();
    requests(&log);
    let kick = Arc::clone(&vrings.pair(0).unwrap().host_notifier);
    drop(vrings);
    assert_eq!(requests(&log), ["stop 2"]);
    assert_eq!(count(&kick), 1, "the kick stays");
    // Without one there is nothing to stop.
    drop(two());
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Peers that make a signal block: they share a notifier, fill its counter, and clear O_NONBLOCK,
//! which belongs to the open file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{Scope, ScopedJoinHandle};

use ioeventfd::{AfterExit, Doorbell, DoorbellRegistry, DoorbellSet, IoAddress};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use notify_core::EventNotifier;
use notify_sim::CallKind;

use crate::common::*;
use crate::hooked::Pause;
use kvm_test::{PATIENCE, wait_until};

const FULL: u64 = u64::MAX - 1;

fn block(notifier: &EventNotifier) {
    fcntl(notifier, FcntlArg::F_SETFL(OFlag::O_RDWR)).unwrap();
}

fn fill(notifier: &EventNotifier) {
    nix::unistd::write(notifier, &FULL.to_ne_bytes()).unwrap();
}

fn empty(notifier: &EventNotifier) -> u128 {
    notifier
        .consume()
        .unwrap()
        .map_or(0, |kicks| kicks.get().into())
}

/// Reads a notifier until it has had so many kicks.
fn expect_all(notifier: &EventNotifier, kicks: u128) {
    let mut had = 0;
    wait_until(|| {
        had += empty(notifier);
        had >= kicks
    });
    assert_eq!(had, kicks);
}

/// Releases blocked threads when the test ends, so that a failing test does not wait for them.
struct Release<'a>(&'a [Arc<EventNotifier>]);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        for one in self.0 {
            let _ = fcntl(&**one, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK));
            let _ = one.consume();
        }
    }
}

/// Starts a thread and waits until it sleeps in the kernel.
fn asleep<'scope, R: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    act: impl FnOnce() -> R + Send + 'scope,
) -> ScopedJoinHandle<'scope, R> {
    let (tell, told) = channel::<PathBuf>();
    let thread = scope.spawn(move || {
        let itself = std::fs::read_link("/proc/thread-self").unwrap();
        tell.send(itself).unwrap();
        act()
    });
    let stat = Path::new("/proc").join(told.recv().unwrap()).join("stat");
    wait_until(|| std::fs::read_to_string(&stat).unwrap().contains(") S "));
    thread
}

/// Runs `act`, which must not wait for the peer, on a thread of its own. If it waits nevertheless,
/// the test can go on, release it, and fail.
fn promptly<'scope, R: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    act: impl FnOnce() -> R + Send + 'scope,
) -> Receiver<R> {
    let (tell, told) = channel();
    scope.spawn(move || tell.send(act()));
    told
}

fn done<R>(told: &Receiver<R>) -> Option<R> {
    told.recv_timeout(PATIENCE).ok()
}

fn kick(rig: &Rig, queue: u64) -> AfterExit {
    let address = IoAddress::Mmio(BASE + queue * 4);
    rig.set.on_exit_write(address, &[0; 2]).unwrap()
}

#[test]
fn a_kick_that_a_peer_blocks_stops_nothing_but_its_own_vcpu() {
    let rig = rig();
    let all = notifiers(3);
    have(&rig.set, queues(BASE, &all));
    block(&all[0]);
    fill(&all[0]);
    let rig = &rig;
    std::thread::scope(|scope| {
        let _release = Release(&all);
        let blocked = asleep(scope, || kick(rig, 0));
        let other_queue = done(&promptly(scope, || kick(rig, 1)));
        let change = {
            let fewer = queues(BASE, &all[..2]);
            done(&promptly(scope, || change(&rig.set, fewer).is_ok()))
        };
        let stop = done(&promptly(scope, || {
            rig.set.stop().map(|stopped| stopped.epoch)
        }));
        let passed = stop.map(|epoch| rig.set.vcpus_passed(epoch.unwrap()).is_ok());
        if passed.is_none() {
            empty(&all[0]);
        }
        assert_eq!(
            (other_queue, change, passed),
            (Some(AfterExit::Resume), Some(true), Some(true))
        );
        // Stopping has read the counter, so the kick gets through.
        assert_eq!(blocked.join().unwrap(), AfterExit::Resume);
        assert_eq!(empty(&all[0]), 1);
    });
}

#[test]
fn a_start_whose_kick_a_peer_blocks_leaves_the_set_free() {
    let rig = rig();
    let all = notifiers(2);
    have(&rig.set, queues(BASE, &all));
    drop(rig.set.stop().unwrap());
    block(&all[0]);
    fill(&all[0]);
    let rig = &rig;
    std::thread::scope(|scope| {
        let _release = Release(&all);
        let starting = asleep(scope, || rig.set.start().is_ok());
        let is_started = done(&promptly(scope, || rig.set.is_started()));
        let kicking = asleep(scope, || rig.set.kick().is_ok());
        let change = {
            let one_less = queues(BASE, &all).split_off(1);
            done(&promptly(scope, || change(&rig.set, one_less).is_ok()))
        };
        let eventfd: &EventNotifier = &all[0];
        assert_eq!(empty(eventfd), FULL.into());
        assert_eq!((is_started, change), (Some(true), Some(true)));
        assert!(starting.join().unwrap() && kicking.join().unwrap());
    });
}

/// One queue whose notifier is `notifier`.
fn queue(notifier: &Arc<EventNotifier>) -> [Doorbell; 1] {
    [mmio(7, BASE, W2, notifier)]
}

/// The kick was matched before the change, and its signal comes after the change has emptied the
/// old notifier: it must not stay there.
#[test]
fn a_kick_between_its_match_and_its_signal_is_handed_over_too() {
    let rig = rig();
    let all = notifiers(2);
    have(&rig.set, queue(&all[0]));
    all.iter().for_each(|one| block(one));
    fill(&all[0]);
    std::thread::scope(|scope| {
        let _release = Release(&all);
        let kicker = asleep(scope, || kick(&rig, 0));
        // This empties the old notifier, so the kicker can signal it. One of the two then waits
        // until the new notifier, which they fill, is read.
        let changer = scope.spawn(|| have(&rig.set, queue(&all[1])));
        expect_all(&all[1], u128::from(FULL) + 1);
        changer.join().unwrap();
        assert_eq!(kicker.join().unwrap(), AfterExit::Resume);
        assert_eq!([empty(&all[0]), empty(&all[1])], [0, 0]);
    });
}

/// Here the next change overtakes both the kick and the hand-over of the previous change.
#[test]
fn a_hand_over_that_a_change_overtakes_moves_on() {
    let rig = rig();
    let all = notifiers(3);
    have(&rig.set, queue(&all[0]));
    all.iter().for_each(|one| block(one));
    fill(&all[0]);
    fill(&all[1]);
    let (rig, all) = (&rig, &all);
    std::thread::scope(|scope| {
        let _release = Release(all);
        let kicker = asleep(scope, || kick(rig, 0));
        // It cannot give the kicks of the old notifier to the full one.
        let first = asleep(scope, || have(&rig.set, queue(&all[1])));
        let second = scope.spawn(|| have(&rig.set, queue(&all[2])));
        expect_all(&all[2], 2 * u128::from(FULL) + 1);
        first.join().unwrap();
        second.join().unwrap();
        assert_eq!(kicker.join().unwrap(), AfterExit::Resume);
        assert_eq!([0, 1, 2].map(|one: usize| empty(&all[one])), [0; 3]);
    });
}

/// A kick that exits in the middle of a change goes to the new notifier. Its signal comes after the
/// change has failed.
#[test]
fn a_kick_that_a_failed_change_overtakes_comes_back() {
    let (vm, pause) = Pause::vm();
    let set = DoorbellSet::new(&DoorbellRegistry::new(vm.clone(), &[]));
    let all = notifiers(2);
    have(&set, queue(&all[0]));
    all.iter().for_each(|one| block(one));
    fill(&all[1]);
    vm.vm.fail(CallKind::IoEventFdAssign, 1, 12);
    pause.arm();
    std::thread::scope(|scope| {
        let _release = Release(&all);
        let change = scope.spawn(|| change(&set, queue(&all[1])).is_err());
        pause.wait_until_entered();
        let kicker = asleep(scope, || set.on_exit_write(IoAddress::Mmio(BASE), &[0; 2]));
        pause.resume();
        expect_all(&all[0], u128::from(FULL) + 1);
        assert!(change.join().unwrap());
        assert_eq!(kicker.join().unwrap().unwrap(), AfterExit::Resume);
        assert_eq!([empty(&all[0]), empty(&all[1])], [0, 0]);
    });
}

/// Two queues have one notifier, and a change in progress gives each its own. A kick that a thread
/// moves in the middle of it may be of either queue.
#[test]
fn a_kick_that_is_moved_in_the_middle_of_a_change_comes_to_both_queues() {
    let (vm, pause) = Pause::vm();
    let set = DoorbellSet::new(&DoorbellRegistry::new(vm, &[]));
    let all = notifiers(5);
    let have = |these: [usize; 3]| {
        let bell = |(key, one): (u64, usize)| mmio(key, BASE + key * 4, W2, &all[one]);
        have(&set, (0..).zip(these).map(bell))
    };
    have([0, 0, 3]);
    block(&all[0]);
    fill(&all[0]);
    std::thread::scope(|scope| {
        let _release = Release(&all);
        let kicker = asleep(scope, || {
            set.on_exit_write(IoAddress::Mmio(BASE), &[0; 2]).unwrap()
        });
        // Another queue's hand-over makes the kicker look.
        have([0, 0, 4]);
        pause.arm();
        let change = scope.spawn(|| have([1, 2, 4]));
        pause.wait_until_entered();
        assert_eq!(empty(&all[0]), FULL.into());
        let kicked = kicker.join().unwrap();
        let pending = [0, 1, 2].map(|one: usize| empty(&all[one]));
        pause.resume();
        change.join().unwrap();
        assert_eq!((kicked, pending), (AfterExit::Resume, [0, 1, 1]));
    });
}

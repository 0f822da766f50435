// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Notifiers that change, and queues that go to vhost and come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ioeventfd::{AfterExit, Datamatch, DoorbellRegistry, DoorbellSet, IoAddress};
use kvm_test::wait_until;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use notify_core::{EventFdMode, EventNotifier};
use notify_sim::CallKind;

use crate::common::*;
use crate::hooked::Pause;

#[test]
fn what_is_pending_goes_to_the_new_notifier() {
    let rig = rig();
    let all = notifiers(2);
    have(&rig.set, [mmio(7, BASE, W2, &all[0])]);
    (0..3).for_each(|_| assert!(kernel_takes(&rig.vm, BASE, &[0; 2])));
    have(&rig.set, [mmio(7, BASE, W2, &all[1])]);
    expect_kicks(&all, &[0, 3]);
    // To another place at the same time; a late write at the old one goes to the new one, too.
    assert!(kernel_takes(&rig.vm, BASE, &[0; 2]));
    have(&rig.set, [mmio(7, ELSEWHERE, W2, &all[0])]);
    assert_eq!(ring(&rig, IoAddress::Mmio(BASE), &[0; 2]), (true, 1));
    expect_kicks(&all, &[2, 0]);
    // Also after unrelated changes.
    rig.set
        .relocate(
            IoAddress::Mmio(ELSEWHERE),
            BAR,
            IoAddress::Mmio(ELSEWHERE + 8),
        )
        .unwrap();
    assert_eq!(ring(&rig, IoAddress::Mmio(BASE), &[0; 2]), (true, 1));
    expect_kicks(&all, &[1, 0]);
}

#[test]
fn a_notifier_that_stays_in_the_set_keeps_what_it_has() {
    let rig = rig();
    let all = notifiers(2);
    have(
        &rig.set,
        [mmio(0, BASE, W2, &all[0]), mmio(1, BASE + 4, W2, &all[0])],
    );
    assert!(kernel_takes(&rig.vm, BASE, &[0; 2]));
    have(
        &rig.set,
        [mmio(0, BASE, W2, &all[1]), mmio(1, BASE + 4, W2, &all[0])],
    );
    expect_kicks(&all, &[1, 0]);
}

#[test]
fn one_notifier_of_two_queues_wakes_both_that_follow_it() {
    let rig = rig();
    let all = notifiers(3);
    have(
        &rig.set,
        [mmio(0, BASE, W2, &all[0]), mmio(1, BASE + 4, W2, &all[0])],
    );
    assert!(kernel_takes(&rig.vm, BASE, &[0; 2]));
    have(
        &rig.set,
        [mmio(0, BASE, W2, &all[1]), mmio(1, BASE + 4, W2, &all[2])],
    );
    expect_kicks(&all, &[0, 1, 1]);
}

/// Two queues have one notifier. One of them leaves it and moves; then the other leaves it too.
#[test]
fn a_late_write_does_not_ring_a_notifier_that_has_left_the_set() {
    let rig = rig();
    let all = notifiers(3);
    let have = |first: (u64, usize), second: usize| {
        let first = mmio(0, first.0, W2, &all[first.1]);
        have(&rig.set, [first, mmio(1, BASE + 4, W2, &all[second])])
    };
    have((BASE, 0), 0);
    have((ELSEWHERE, 1), 0);
    assert_eq!(ring(&rig, IoAddress::Mmio(BASE), &[0; 2]), (true, 1));
    expect_kicks(&all, &[1, 0, 0]);
    have((ELSEWHERE, 1), 2);
    assert_eq!(ring(&rig, IoAddress::Mmio(BASE), &[0; 2]), (true, 1));
    expect_kicks(&all, &[0, 1, 0]);
}

#[test]
fn a_removed_doorbell_leaves_its_kicks_where_they_are() {
    let rig = rig();
    let all = notifiers(2);
    have(&rig.set, queues(BASE, &all));
    assert!(kernel_takes(&rig.vm, BASE + 4, &[0; 2]));
    have(&rig.set, queues(BASE, &all[..1]));
    expect_kicks(&all, &[0, 1]);
}

#[test]
fn a_semaphore_is_emptied_too() {
    let rig = rig();
    let old = Arc::new(EventNotifier::builder().semaphore(true).build().unwrap());
    assert_eq!(old.mode(), EventFdMode::Semaphore);
    let all = [old, notifier()];
    have(&rig.set, [mmio(7, BASE, W2, &all[0])]);
    (0..3).for_each(|_| assert!(kernel_takes(&rig.vm, BASE, &[0; 2])));
    have(&rig.set, [mmio(7, BASE, W2, &all[1])]);
    expect_kicks(&all, &[0, 3]);
}

#[test]
fn a_full_counter_that_takes_over_stays_signalled() {
    let rig = rig();
    let all = notifiers(2);
    have(&rig.set, [mmio(7, BASE, W2, &all[0])]);
    (0..3).for_each(|_| assert!(kernel_takes(&rig.vm, BASE, &[0; 2])));
    let eventfd: &notify_core::EventFd = (*all[1]).as_ref();
    eventfd.write(u64::MAX - 2).unwrap();
    have(&rig.set, [mmio(7, BASE, W2, &all[1])]);
    assert_eq!(take(&all[..1]), [0]);
    assert!(all[1].is_signalled().unwrap());
}

#[test]
fn a_change_of_notifiers_that_fails_gives_everything_back() {
    for (kind, nth) in [
        (CallKind::IoEventFdAssign, 1),
        (CallKind::IoEventFdAssign, 2),
    ] {
        let rig = rig();
        let all = notifiers(4);
        have(&rig.set, queues(BASE, &all[..2]));
        assert!(kernel_takes(&rig.vm, BASE, &[0; 2]));
        // A new notifier may have been signalled by its creator; this signal is the queue's, too.
        all[2].notify().unwrap();
        rig.vm.fail(kind, nth, 12);
        assert!(change(&rig.set, queues(BASE, &all[2..])).is_err());
        assert!(kernel_takes(&rig.vm, BASE, &[0; 2]));
        expect_kicks(&all, &[3, 0, 0, 0]);
    }
}

#[test]
fn a_notifier_that_was_there_before_gives_nothing_back() {
    let rig = rig();
    let all = notifiers(2);
    let (one, other) = (mmio(7, BASE, W2, &all[0]), mmio(7, ELSEWHERE, W2, &all[1]));
    have(&rig.set, [one, other.clone()]);
    assert!(kernel_takes(&rig.vm, ELSEWHERE, &[0; 2]));
    rig.vm.fail(CallKind::IoEventFdDeassign, 1, 12);
    assert!(change(&rig.set, [other]).is_err());
    expect_kicks(&all, &[0, 1]);
}

/// Returns what is pending after a change of notifiers that fails. In the middle of the change
/// queue 0 is kicked, by an exit or at the doorbell that the kernel has at that moment.
fn kicked_in_a_change_that_fails(before: &[usize], after: &[usize], by_exit: bool) -> Vec<u64> {
    let (vm, pause) = Pause::vm();
    let set = DoorbellSet::new(&DoorbellRegistry::new(vm.clone(), &[]));
    let all = notifiers(3);
    let bells = |these: &[usize]| {
        let bell = |(key, one): (u64, &usize)| mmio(key, BASE + key * 4, W2, &all[*one]);
        (0..).zip(these).map(bell).collect::<Vec<_>>()
    };
    have(&set, bells(before));
    // A further doorbell, whose registration fails, so that those before it are registered and
    // deregistered again.
    let further = mmio(9, BASE + 0x100, W2, &all[1]);
    let wanted = bells(after).into_iter().chain([further]);
    let changed = before.iter().zip(after).filter(|(old, new)| old != new);
    let replaced = changed.count() as u64;
    vm.vm.fail(CallKind::IoEventFdAssign, replaced + 1, 12);
    std::thread::scope(|scope| {
        pause.arm();
        let change = scope.spawn(|| change(&set, wanted).is_err());
        // The old doorbells are deregistered first. Before the last call all new ones but the
        // further one are registered.
        let calls_before = if by_exit { 1 } else { 2 * replaced };
        for _ in 0..calls_before {
            pause.wait_until_entered();
            pause.arm();
            pause.resume();
        }
        pause.wait_until_entered();
        if by_exit {
            let rung = set.on_exit_write(IoAddress::Mmio(BASE), &[0; 2]);
            assert_eq!(rung.unwrap(), AfterExit::Resume);
        } else {
            assert!(kernel_takes(&vm.vm, BASE, &[0; 2]));
        }
        pause.resume();
        assert!(change.join().unwrap());
    });
    take(&all)
}

/// The kick goes to the planned notifier, which is read by another queue's handler, or by no
/// handler.
#[test]
fn a_kick_during_a_change_that_fails_comes_to_its_queue() {
    for by_exit in [true, false] {
        for (before, after, pending) in [
            // The queue will share the notifier of another queue.
            ([0, 1], [1, 1], [1, 1, 0]),
            // The other queue changes its notifier at the same time.
            ([0, 1], [1, 2], [1, 1, 0]),
            // Two queues exchange their notifiers, so either may have been kicked.
            ([0, 1], [1, 0], [1, 2, 0]),
            // The queue will leave a notifier that another queue keeps.
            ([0, 0], [2, 0], [1, 0, 0]),
        ] {
            let had = kicked_in_a_change_that_fails(&before, &after, by_exit);
            assert_eq!(had, pending, "{before:?} {after:?}, exit: {by_exit}");
        }
    }
}

/// A queue that had left the set will come back with another notifier. In the middle of the change,
/// a late write arrives at its old place, which still signals the previous notifier.
#[test]
fn a_late_write_during_a_change_that_fails_comes_to_the_notifier_of_before() {
    let (vm, pause) = Pause::vm();
    let set = DoorbellSet::new(&DoorbellRegistry::new(vm.clone(), &[]));
    let all = notifiers(3);
    let leaves = mmio(1, BASE + 4, W2, &all[0]);
    have(&set, [mmio(0, BASE, W2, &all[0]), leaves]);
    have(&set, [mmio(0, BASE, W2, &all[0])]);
    let comes_back = mmio(1, BASE + 8, W2, &all[2]);
    let wanted = [mmio(0, BASE, W2, &all[1]), comes_back];
    vm.vm.fail(CallKind::IoEventFdAssign, 1, 12);
    pause.arm();
    std::thread::scope(|scope| {
        let change = scope.spawn(|| change(&set, wanted).is_err());
        pause.wait_until_entered();
        let rung = set.on_exit_write(IoAddress::Mmio(BASE + 4), &[0; 2]);
        assert_eq!(rung.unwrap(), AfterExit::Resume);
        assert_eq!(take(&all[..2]), [0, 0]);
        pause.resume();
        assert!(change.join().unwrap());
    });
    expect_kicks(&all, &[1, 0, 0]);
}

/// A guest kicks without pause while the queue's notifier changes again and again.
#[test]
fn no_kick_is_lost_or_doubled_while_the_notifier_changes() {
    let rig = rig();
    let all = notifiers(2);
    let bell = |which: usize| [mmio(7, BASE, Datamatch::U16(0), &all[which])];
    have(&rig.set, bell(0));
    let over = AtomicBool::new(false);
    let writes = std::thread::scope(|scope| {
        let guest = scope.spawn(|| {
            let mut writes = 0u64;
            while !over.load(Ordering::Relaxed) {
                assert!(ring(&rig, IoAddress::Mmio(BASE), &[0; 2]).0);
                writes += 1;
            }
            writes
        });
        let ends = Ends(&over);
        for change in 0..2000usize {
            // Some of them fail.
            if change % 5 == 0 {
                rig.vm.fail(CallKind::IoEventFdAssign, 1, 12);
                let _ = crate::common::change(&rig.set, bell((change + 1) % 2)).is_err();
                rig.vm.clear_faults();
            }
            have(&rig.set, bell((change + 1) % 2));
        }
        drop(ends);
        guest.join().unwrap()
    });
    // 2000 changes return to the start.
    let pending = take(&all);
    assert_eq!(pending, [writes, 0]);
}

/// How vhost takes a kick: it polls the eventfd by a callback, edge by edge, and never reads it.
struct Vhost<'a> {
    kick: &'a EventNotifier,
    runs: AtomicU64,
    stop: EventNotifier,
}

impl Vhost<'_> {
    fn serve(&self, ring: impl Fn()) {
        let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
        let edge = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        epoll.add(self.kick, EpollEvent::new(edge, 0)).unwrap();
        epoll
            .add(&self.stop, EpollEvent::new(EpollFlags::EPOLLIN, 1))
            .unwrap();
        loop {
            let mut events = [EpollEvent::empty(); 2];
            let ready = epoll.wait(&mut events, EpollTimeout::NONE).unwrap();
            if events[..ready].iter().any(|event| event.data() == 0) {
                ring();
                self.runs.fetch_add(1, Ordering::Release);
            }
            if events[..ready].iter().any(|event| event.data() == 1) {
                break;
            }
        }
    }
}

/// The ring: the guest makes buffers available, and the VMM or vhost uses what it sees.
#[derive(Default)]
struct Ring {
    available: AtomicU64,
    used: AtomicU64,
}

impl Ring {
    fn serve(&self) {
        let available = self.available.load(Ordering::SeqCst);
        self.used.fetch_max(available, Ordering::SeqCst);
    }

    fn is_served(&self) -> bool {
        self.used.load(Ordering::SeqCst) == self.available.load(Ordering::SeqCst)
    }
}

#[test]
fn a_queue_goes_to_vhost_and_back() {
    let rig = rig();
    let queue = notifiers(1);
    have(&rig.set, queues(BASE, &queue));
    let ring = Ring::default();
    let kick = || {
        ring.available.fetch_add(1, Ordering::SeqCst);
        assert!(kernel_takes(&rig.vm, BASE, &[0; 2]));
    };
    for _ in 0..20 {
        // The VMM serves it, and stops doing so with a kick unserved.
        kick();
        // To vhost: the eventfd is given to vhost, the backend is set, and a kick follows.
        let vhost = Vhost {
            kick: &queue[0],
            runs: AtomicU64::new(0),
            stop: EventNotifier::new().unwrap(),
        };
        std::thread::scope(|scope| {
            scope.spawn(|| vhost.serve(|| ring.serve()));
            rig.set.kick().unwrap();
            wait_until(|| ring.is_served());
            for _ in 0..10 {
                kick();
            }
            wait_until(|| ring.is_served());
            // Back: vhost is stopped, perhaps with a kick that it has not seen.
            vhost.stop.notify().unwrap();
        });
        kick();
        assert!(vhost.runs.load(Ordering::Acquire) > 0);
        // Its counter holds all kicks since vhost began. They are cleared, and count as one pass.
        let leftovers = rig.set.drain().unwrap();
        assert_eq!(leftovers.len(), 1);
        assert_eq!(leftovers[0].kicks.get(), 1 + 1 + 10 + 1);
        ring.serve();
        assert!(ring.is_served());
        // From here on new kicks wake the VMM's own handler, and nothing else does.
        assert!(!queue[0].is_signalled().unwrap());
    }
}

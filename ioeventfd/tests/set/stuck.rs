// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Doorbells that could not be deregistered: whose place they block, whose kicks they take, and
//! when they go.

use std::os::fd::AsFd;
use std::sync::Arc;

use ioeventfd::{Datamatch, DoorbellRegistry, DoorbellSet, Epoch, Error, IoAddress, Window};
use notify_core::{Bus, EventNotifier, IoEventFdRequest, Vm};
use notify_sim::CallKind::{IoEventFdAssign, IoEventFdDeassign};

use crate::common::*;
use crate::faults::expect_all_heard;
use crate::hooked::Pause;

const ENOMEM: i32 = 12;

#[test]
fn what_stays_stuck_is_a_conflict_for_its_own_set() {
    let rig = rig();
    let all = notifiers(3);
    let wanted = [mmio(0, BASE, W2, &all[0]), mmio(1, BASE + 4, W2, &all[1])];
    rig.vm.fail(IoEventFdAssign, 2, ENOMEM);
    rig.vm.fail(IoEventFdDeassign, 1, ENOMEM);
    assert!(matches!(
        change(&rig.set, wanted.clone()),
        Err(Error::NotUndone { .. })
    ));
    ioctls(&rig.vm);
    let plan = rig
        .set
        .plan([mmio(0, BASE, Datamatch::AnyWrite, &all[2])])
        .unwrap();
    rig.vm.fail(IoEventFdDeassign, 1, ENOMEM);
    let refused = rig.set.apply(plan).unwrap_err();
    assert!(matches!(refused.error, Error::Conflict { .. }), "{refused}");
    assert_eq!(
        ioctls(&rig.vm),
        (0, 1),
        "nothing but the attempt to get rid of it"
    );
    rig.set.apply(refused.value).unwrap();
}

#[test]
fn what_a_dropped_set_cannot_deregister_is_kept_and_got_rid_of() {
    let rig = rig();
    let doomed = DoorbellSet::new(&rig.registry);
    let all = notifiers(3);
    let held = Arc::downgrade(&all[1]);
    have(&doomed, queues(BASE, &all));
    drop(all);
    rig.vm.fail(IoEventFdDeassign, 2, ENOMEM);
    drop(doomed);
    assert_eq!(rig.registry.quarantined(), 1);
    assert!(
        held.upgrade().is_some(),
        "without it there is no way to deregister"
    );
    let of_queue_1 = || queues(BASE, &notifiers(2)).remove(1);
    // The next change of any set tries again.
    have(&rig.set, [mmio(0, ELSEWHERE, W2, &notifier())]);
    assert_eq!(rig.registry.quarantined(), 0);
    have(&rig.set, [of_queue_1()]);
    have(&rig.set, []);
    assert!(held.upgrade().is_none());
    drop((rig.set, rig.registry));
    assert_eq!(Arc::strong_count(&rig.vm), 1, "no set holds the registry");
}

#[test]
fn a_place_where_a_dropped_set_leaves_something_stuck_is_nobodys() {
    let all = notifiers(3);
    let mut rig = stuck(&all);
    let doomed = std::mem::replace(&mut rig.set, DoorbellSet::new(&rig.registry));
    rig.vm.fail(IoEventFdDeassign, 1, ENOMEM);
    drop(doomed);
    assert_eq!(rig.registry.quarantined(), 1);
    let wanted = || [mmio(0, BASE, W2, &all[2])];
    rig.vm.fail(IoEventFdDeassign, 1, ENOMEM);
    assert!(matches!(
        change(&rig.set, wanted()),
        Err(Error::Conflict { .. })
    ));
    have(&rig.set, [mmio(0, ELSEWHERE, W2, &all[2])]);
    assert_eq!(rig.registry.quarantined(), 0);
    have(&rig.set, wanted());
}

#[test]
fn a_kick_that_something_stuck_took_comes_to_its_queue() {
    for (keep, kicks) in [(0, [1, 0]), (1, [0, 1])] {
        let all = notifiers(2);
        let rig = stuck(&all);
        have(&rig.set, [mmio(0, BASE, W2, &all[keep])]);
        expect_kicks(&all, &kicks);
        let other = DoorbellSet::new(&rig.registry);
        let planned = other.plan([mmio(0, BASE, W2, &all[0])]);
        assert!(planned.is_err(), "the place is the set's all the while");
    }
}

/// A stuck doorbell signals a notifier that another queue's handler reads.
#[test]
fn a_kick_that_something_stuck_gave_to_another_queue_comes_to_its_own() {
    let rig = rig();
    let all = notifiers(2);
    have(&rig.set, queues(BASE, &all));
    rig.vm.fail(IoEventFdAssign, 2, ENOMEM);
    rig.vm.fail(IoEventFdDeassign, 2, ENOMEM);
    let of_queue_1 = [BASE, BASE + 4, BASE + 8].map(|at| mmio((at - BASE) / 4, at, W2, &all[1]));
    let refused = change(&rig.set, of_queue_1);
    assert!(matches!(refused, Err(Error::NotUndone { .. })));
    rig.vm.clear_faults();
    take(&all);
    assert!(kernel_takes(&rig.vm, BASE, &[0; 2]), "by what is stuck");
    expect_kicks(&all, &[0, 1]);
    // The next change removes it, even one that replaces the notifier of the queue.
    let fresh = [notifier(), Arc::clone(&all[1])];
    have(&rig.set, queues(BASE, &fresh));
    expect_kicks(&fresh, &[1, 0]);
    expect_kicks(&all, &[0, 0]);
}

/// A doorbell at `BASE`, and in the kernel another one in its place, which signals `all[1]`.
fn stuck(all: &[Arc<EventNotifier>]) -> Rig {
    let rig = rig();
    have(&rig.set, [mmio(0, BASE, W2, &all[0])]);
    rig.vm.fail(IoEventFdAssign, 2, ENOMEM);
    rig.vm.fail(IoEventFdDeassign, 2, ENOMEM);
    let wanted = [mmio(0, BASE, W2, &all[1]), mmio(1, BASE + 4, W2, &all[1])];
    assert!(matches!(
        change(&rig.set, wanted),
        Err(Error::NotUndone { .. })
    ));
    rig.vm.clear_faults();
    assert!(kernel_takes(&rig.vm, BASE, &[0; 2]), "by what is stuck");
    rig
}

#[test]
fn what_is_stuck_goes_when_the_set_stops() {
    let all = notifiers(2);
    let rig = stuck(&all);
    let stopped = rig.set.stop().unwrap();
    assert!(!kernel_takes(&rig.vm, BASE, &[0; 2]));
    let kicks: Vec<_> = stopped
        .leftovers
        .iter()
        .map(|one| one.kicks.get())
        .collect();
    assert_eq!(kicks, [1], "the kick was the queue's");
}

#[test]
fn what_is_stuck_goes_when_the_set_starts() {
    let all = notifiers(2);
    let rig = stuck(&all);
    rig.vm.fail(IoEventFdDeassign, 1, ENOMEM);
    drop(rig.set.stop().unwrap());
    rig.set.start().unwrap();
    take(&all);
    expect_all_heard(&rig, &rig.set.doorbells(), &all);
    assert!(kernel_takes(&rig.vm, BASE, &[0; 2]));
}

/// A dropped set's doorbell at `BASE + 4`, which the kernel did not deregister.
fn quarantined(rig: &Rig) -> Arc<EventNotifier> {
    let doomed = DoorbellSet::new(&rig.registry);
    let one = notifier();
    have(&doomed, [mmio(0, BASE + 4, W2, &one)]);
    rig.vm.fail(IoEventFdDeassign, 1, ENOMEM);
    drop(doomed);
    rig.vm.clear_faults();
    assert_eq!(rig.registry.quarantined(), 1);
    ioctls(&rig.vm);
    one
}

fn deregister_behind_its_back(vm: &dyn Vm, address: u64, one: &EventNotifier) {
    let request = IoEventFdRequest::assign(one.as_fd(), Bus::Mmio, address, 2);
    vm.ioeventfd(&request.deassign()).unwrap();
}

#[test]
fn a_quarantined_doorbell_makes_way_for_one_that_is_planned_in_its_place() {
    for there in [
        mmio(0, BASE + 4, W2, &notifier()),
        mmio(0, BASE + 4, Datamatch::AnyWrite, &notifier()),
        mmio(0, BASE + 2, W4, &notifier()),
    ] {
        let rig = rig();
        let held = quarantined(&rig);
        let plan = rig.set.plan([there]).unwrap();
        assert_eq!(ioctls(&rig.vm), (0, 0), "a plan asks nothing of the VM");
        // As long as the kernel has it, it blocks the place.
        rig.vm.fail(IoEventFdDeassign, 1, ENOMEM);
        let refused = rig.set.apply(plan).unwrap_err();
        assert!(matches!(refused.error, Error::Conflict { .. }), "{refused}");
        assert_eq!(rig.registry.quarantined(), 1);
        assert_eq!(ioctls(&rig.vm), (0, 1));
        rig.set.apply(refused.value).unwrap();
        assert_eq!(rig.registry.quarantined(), 0);
        assert_eq!(ioctls(&rig.vm), (1, 1));
        assert_eq!(Arc::strong_count(&held), 1);
    }
}

#[test]
fn a_window_is_not_reserved_over_a_quarantined_doorbell() {
    let rig = rig();
    quarantined(&rig);
    let window = Window::new(IoAddress::Mmio(BASE), 0x100, "the GIC");
    assert!(rig.registry.reserve(window).is_err());
}

/// Two changes at once: the second waits until the first has emptied the quarantine.
#[test]
fn a_quarantined_doorbell_counts_while_it_is_deregistered() {
    let (vm, pause) = Pause::vm();
    let registry = DoorbellRegistry::new(vm.clone(), &[]);
    let doomed = DoorbellSet::new(&registry);
    have(&doomed, [mmio(0, BASE, W2, &notifier())]);
    vm.vm.fail(IoEventFdDeassign, 1, ENOMEM);
    drop(doomed);
    let (one, other) = (DoorbellSet::new(&registry), DoorbellSet::new(&registry));
    pause.arm();
    std::thread::scope(|scope| {
        let elsewhere = scope.spawn(|| have(&one, [mmio(0, ELSEWHERE, W2, &notifier())]));
        pause.wait_until_entered();
        let count = registry.quarantined();
        let in_its_place = scope.spawn(|| change(&other, [mmio(0, BASE, W2, &notifier())]));
        pause.resume();
        elsewhere.join().unwrap();
        in_its_place.join().unwrap().unwrap();
        assert_eq!(count, 1, "the kernel has it still");
    });
    assert_eq!(registry.quarantined(), 0);
}

#[test]
fn what_another_party_has_deregistered_is_gone() {
    let rig = rig();
    let one = quarantined(&rig);
    deregister_behind_its_back(&*rig.vm, BASE + 4, &one);
    have(&rig.set, [mmio(0, ELSEWHERE, W2, &one)]);
    assert_eq!(rig.registry.quarantined(), 0);
    have(&rig.set, [mmio(0, BASE + 4, W2, &one)]);
}

/// KVM drops a whole bus if it has no memory to make it smaller, and returns ENOENT from then on.
#[test]
fn a_set_goes_on_without_doorbells_that_the_kernel_has_lost() {
    type Step = fn(&Rig, &[Arc<EventNotifier>]) -> Epoch;
    let steps: [Step; 4] = [
        |rig, _| {
            let stopped = rig.set.stop().unwrap();
            rig.set.start().unwrap();
            stopped.epoch
        },
        |rig, _| have(&rig.set, []),
        |rig, all| have(&rig.set, queues(ELSEWHERE, all)),
        |rig, all| have(&rig.set, queues(BASE, &all[..1])),
    ];
    for step in steps {
        let rig = rig();
        let all = notifiers(3);
        have(&rig.set, queues(BASE, &all));
        for (queue, one) in (0..).zip(&all).skip(1) {
            deregister_behind_its_back(&*rig.vm, BASE + queue * 4, one);
        }
        step(&rig, &all);
        have(&rig.set, []);
        have(&rig.set, queues(BASE, &all));
        // Also if an undo was to deregister the doorbell, or the drop of its set.
        deregister_behind_its_back(&*rig.vm, BASE, &all[0]);
        rig.vm.fail(IoEventFdDeassign, 2, ENOMEM);
        let failed = rig.set.stop().unwrap_err();
        assert!(matches!(failed, Error::StaysRegistered { .. }), "{failed}");
        expect_all_heard(&rig, &rig.set.doorbells(), &all);
        assert!(kernel_takes(&rig.vm, BASE, &[0; 2]), "registered anew");
        deregister_behind_its_back(&*rig.vm, BASE, &all[0]);
        drop(rig.set);
        assert_eq!(rig.registry.quarantined(), 0);
    }
}

/// A doorbell for any write is stuck where the previous one ends. If the previous one were
/// registered again, KVM's bus might not find it, depending on the other doorbells.
#[test]
fn an_undo_registers_nothing_beside_what_is_stuck() {
    for beside in 0..4 {
        let rig = rig();
        let all = notifiers(3);
        let others = || (0..beside).map(|n| mmio(9, ELSEWHERE + n * 4, W2, &all[2]));
        let before = || others().chain([mmio(0, BASE, W2, &all[0])]);
        have(&rig.set, before());
        rig.vm.fail(IoEventFdAssign, 2, ENOMEM);
        rig.vm.fail(IoEventFdDeassign, 2, ENOMEM);
        let after = [
            mmio(0, BASE + 2, Datamatch::AnyWrite, &all[1]),
            mmio(1, BASE + 8, W2, &all[1]),
        ];
        let error = change(&rig.set, others().chain(after)).unwrap_err();
        let Error::NotUndone { unrestored, .. } = error else {
            panic!("{error}");
        };
        let registered: Vec<_> = unrestored.iter().map(|one| one.registered).collect();
        assert_eq!(registered, [true, false]);
        // Meanwhile an exit rings it, and no plan registers it while the other one stays.
        assert_eq!(ring(&rig, IoAddress::Mmio(BASE), &[0; 2]), (true, 1));
        rig.vm.fail(IoEventFdDeassign, 1, ENOMEM);
        let refused = change(&rig.set, before()).unwrap_err();
        assert!(matches!(refused, Error::Conflict { .. }), "{refused}");
        have(&rig.set, before());
        assert!(kernel_takes(&rig.vm, BASE, &[0; 2]));
        take(&all);
    }
}

#[test]
fn the_place_of_what_is_stuck_stays_taken_when_the_doorbell_in_it_goes() {
    let all = notifiers(2);
    let rig = stuck(&all);
    rig.vm.fail(IoEventFdDeassign, 1, ENOMEM);
    have(&rig.set, []);
    let other = DoorbellSet::new(&rig.registry);
    for at in [BASE, BASE + 1] {
        let planned = other.plan([mmio(0, at, W2, &all[0])]);
        assert!(matches!(planned, Err(Error::Conflict { .. })), "{at:#x}");
    }
    have(&rig.set, [mmio(0, ELSEWHERE, W2, &all[0])]);
    have(&other, [mmio(0, BASE, W2, &all[0])]);
}

/// The stuck doorbell is in the very place of a doorbell that stays.
#[test]
fn a_plan_finds_a_conflict_with_a_doorbell_whose_place_is_also_stuck() {
    let all = notifiers(2);
    let rig = stuck(&all);
    let beside = mmio(1, BASE + 1, W2, &all[0]);
    let planned = rig.set.plan([mmio(0, BASE, W2, &all[0]), beside]);
    assert!(matches!(planned, Err(Error::Conflict { .. })));
}

/// A notifier that a stuck doorbell signals is planned for another queue. That queue is kicked
/// before the change ends, and its kick stays in the notifier.
#[test]
fn a_kick_of_a_new_queue_is_not_taken_for_one_of_what_was_stuck() {
    let (vm, pause) = Pause::vm();
    let set = DoorbellSet::new(&DoorbellRegistry::new(vm.clone(), &[]));
    let all = notifiers(3);
    have(&set, [mmio(0, BASE, W2, &all[0])]);
    vm.vm.fail(IoEventFdAssign, 2, ENOMEM);
    vm.vm.fail(IoEventFdDeassign, 2, ENOMEM);
    let refused = change(
        &set,
        [mmio(0, BASE, W2, &all[1]), mmio(1, BASE + 4, W2, &all[1])],
    );
    assert!(matches!(refused, Err(Error::NotUndone { .. })));
    let wanted = [
        mmio(0, BASE, W2, &all[0]),
        mmio(1, BASE + 4, W2, &all[1]),
        mmio(2, BASE + 8, W2, &all[2]),
    ];
    std::thread::scope(|scope| {
        pause.arm();
        let change = scope.spawn(|| have(&set, wanted));
        // The stuck doorbell goes, and then the doorbells of queues 0 and 1 come.
        for _ in 0..3 {
            pause.wait_until_entered();
            pause.arm();
            pause.resume();
        }
        pause.wait_until_entered();
        assert!(kernel_takes(&vm.vm, BASE + 4, &[0; 2]));
        pause.resume();
        change.join().unwrap();
    });
    // The counter does not show whether queue 0 was kicked meanwhile.
    expect_kicks(&all, &[1, 1, 0]);
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What could not be deregistered: whose place it blocks, whose kicks it takes, and when it goes.

use std::sync::Arc;

use ioeventfd::{Datamatch, DoorbellSet, Error};
use notify_core::EventNotifier;
use notify_core::sim::CallKind::{IoEventFdAssign, IoEventFdDeassign};

use crate::common::*;
use crate::faults::expect_all_heard;

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
        "without it nobody could deregister"
    );
    let of_queue_1 = || queues(BASE, &notifiers(2)).remove(1);
    assert!(
        rig.set.plan([of_queue_1()]).is_err(),
        "its place is nobody's"
    );
    // The next change of anybody tries again.
    have(&rig.set, [mmio(0, ELSEWHERE, W2, &notifier())]);
    assert_eq!(rig.registry.quarantined(), 0);
    have(&rig.set, [of_queue_1()]);
    have(&rig.set, []);
    assert!(held.upgrade().is_none());
    drop(rig.set);
    assert_eq!(Arc::strong_count(&rig.registry), 1, "no set holds another");
    drop(rig.registry);
    assert_eq!(Arc::strong_count(&rig.vm), 1);
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
    assert!(matches!(
        rig.set.plan(wanted()),
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

/// A doorbell at `BASE`, and in the kernel another one in its place, which `all[1]` hears.
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

#[test]
fn what_somebody_else_has_deregistered_is_gone() {
    let rig = rig();
    let one = notifier();
    let doomed = DoorbellSet::new(&rig.registry);
    have(&doomed, [mmio(0, BASE, W2, &one)]);
    rig.vm.fail(IoEventFdDeassign, 1, ENOMEM);
    drop(doomed);
    let request = notify_core::IoEventFdRequest::assign(
        std::os::fd::AsFd::as_fd(&*one),
        notify_core::Bus::Mmio,
        BASE,
        2,
    );
    notify_core::Vm::ioeventfd(&*rig.vm, &request.deassign()).unwrap();
    have(&rig.set, [mmio(0, ELSEWHERE, W2, &one)]);
    assert_eq!(rig.registry.quarantined(), 0);
    have(&rig.set, [mmio(0, BASE, W2, &one)]);
}

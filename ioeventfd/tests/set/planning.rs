// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Plans: what is compared, and what is refused before any request to the VM.

use ioeventfd::{Conflict, Datamatch, Doorbell, DoorbellSet, Error, IoAddress, Width};
use notify_sim::CallKind;

use crate::common::*;

#[test]
fn a_plan_asks_nothing_of_the_machine() {
    let rig = rig();
    let all = notifiers(8);
    let plan = rig.set.plan(queues(BASE, &all)).unwrap();
    assert_eq!((plan.additions(), plan.removals()), (8, 0));
    assert_eq!(rig.vm.total_calls(), 0);
    assert_eq!(rig.vm.calls(CallKind::CheckExtension), 0);
    assert!(rig.set.doorbells().is_empty());
    // It reserves nothing either.
    let other = DoorbellSet::new(&rig.registry);
    have(&other, queues(BASE, &all[..1]));
    let refused = rig.set.apply(plan).unwrap_err();
    assert!(matches!(refused.error, Error::Conflict { .. }), "{refused}");
    assert_eq!(ioctls(&rig.vm), (1, 0), "the other set's alone");
    drop(other);
    rig.set.apply(refused.value).unwrap();
}

#[test]
fn what_stays_the_same_costs_no_ioctl() {
    let rig = rig();
    let all = notifiers(1000);
    have(&rig.set, queues(BASE, &all));
    ioctls(&rig.vm);
    let mut wanted = queues(BASE, &all);
    for (index, moved) in wanted.iter_mut().step_by(100).enumerate() {
        moved.address = IoAddress::Mmio(ELSEWHERE + index as u64 * 8);
    }
    wanted.reverse();
    let plan = rig.set.plan(wanted).unwrap();
    assert_eq!((plan.additions(), plan.removals()), (10, 10));
    rig.set.apply(plan).unwrap();
    assert_eq!(ioctls(&rig.vm), (10, 10), "none for the other 990");

    let same = rig.set.plan(rig.set.doorbells()).unwrap();
    assert_eq!((same.additions(), same.removals()), (0, 0));
    rig.set.apply(same).unwrap();
    assert_eq!(ioctls(&rig.vm), (0, 0));
}

#[test]
fn a_doorbell_is_the_same_only_if_all_its_parts_are() {
    let rig = rig();
    let (one, other) = (notifier(), notifier());
    let bell = mmio(1, BASE, Datamatch::U16(1), &one);
    have(&rig.set, [bell.clone()]);
    ioctls(&rig.vm);
    for different in [
        mmio(2, BASE, Datamatch::U16(1), &one),
        mmio(1, BASE + 2, Datamatch::U16(1), &one),
        mmio(1, BASE, Datamatch::U16(2), &one),
        mmio(1, BASE, Datamatch::U16(1), &other),
    ] {
        have(&rig.set, [different]);
        assert_eq!(ioctls(&rig.vm), (1, 1));
        have(&rig.set, [bell.clone()]);
        ioctls(&rig.vm);
    }
}

fn conflict(rig: &Rig, there: &[Doorbell], wanted: Doorbell) -> Option<Conflict> {
    // Of one set, of two, and all in one plan.
    let other = DoorbellSet::new(&rig.registry);
    have(&other, there.to_vec());
    let of_other = found(rig.set.plan([wanted.clone()]).map(drop));
    let with_its_own = other.plan(there.iter().cloned().chain([wanted.clone()]));
    assert_eq!(found(with_its_own.map(drop)).is_some(), of_other.is_some());
    drop(other);
    let at_once = rig.set.plan(there.iter().cloned().chain([wanted]));
    assert_eq!(found(at_once.map(drop)).is_some(), of_other.is_some());
    of_other
}

pub(crate) fn found(planned: Result<(), Error>) -> Option<Conflict> {
    match planned {
        Ok(()) => None,
        Err(Error::Conflict { cause, .. }) => Some(*cause),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn what_kvm_refuses_or_its_bus_confuses_is_a_conflict() {
    let rig = rig();
    let one = notifier();
    let bell = |address, datamatch| mmio(0, address, datamatch, &one);
    let (any, wild4, value4) = (Datamatch::AnyWrite, W4, Datamatch::U32(7));
    let wild = |datamatch| {
        let there = format!("a doorbell for {datamatch} at the same address");
        Some(there + " takes some of these writes")
    };
    let over = |address: u64, datamatch| {
        let there = format!("it overlaps the doorbell at MMIO {address:#x} for {datamatch}");
        Some(there + ", and one may hide the other")
    };
    let beside = |address: u64, datamatch| {
        let there = format!("it adjoins the doorbell at MMIO {address:#x} for {datamatch}");
        Some(there + ", and one of the two takes any write: give that one a width")
    };
    let taken = Conflict::Taken.to_string();
    for (there, wanted, expected) in [
        (bell(BASE, wild4), bell(BASE, wild4), Some(taken.clone())),
        (bell(BASE, value4), bell(BASE, value4), Some(taken)),
        (bell(BASE, wild4), bell(BASE, value4), wild(wild4)),
        (bell(BASE, value4), bell(BASE, wild4), wild(value4)),
        (bell(BASE, any), bell(BASE, value4), wild(any)),
        (bell(BASE, value4), bell(BASE, any), wild(value4)),
        (bell(BASE, any), bell(BASE, W2), wild(any)),
        (bell(BASE, value4), bell(BASE, Datamatch::U32(8)), None),
        (bell(BASE, value4), bell(BASE, W2), None),
        (bell(BASE, wild4), bell(BASE, Datamatch::U16(7)), None),
        (
            bell(BASE, wild4),
            bell(BASE + 3, Datamatch::U8(0)),
            over(BASE, wild4),
        ),
        (
            bell(BASE + 3, Datamatch::U8(0)),
            bell(BASE, wild4),
            over(BASE + 3, Datamatch::U8(0)),
        ),
        (bell(BASE, wild4), bell(BASE + 4, wild4), None),
        (bell(BASE, wild4), bell(BASE + 2, any), over(BASE, wild4)),
        (bell(BASE + 2, any), bell(BASE, wild4), over(BASE + 2, any)),
        (bell(BASE, any), bell(BASE + 1, W2), None),
        (
            bell(BASE, Datamatch::Width(Width::W8)),
            bell(BASE + 7, Datamatch::U8(1)),
            over(BASE, Datamatch::Width(Width::W8)),
        ),
        (
            bell(BASE, Datamatch::Width(Width::W8)),
            bell(BASE + 8, any),
            beside(BASE, Datamatch::Width(Width::W8)),
        ),
        (
            bell(BASE + 2, any),
            bell(BASE, Datamatch::U16(7)),
            beside(BASE + 2, any),
        ),
        (
            bell(BASE + 1, any),
            bell(BASE, Datamatch::U8(7)),
            beside(BASE + 1, any),
        ),
        (bell(BASE, W2), bell(BASE + 3, any), None),
        (bell(BASE, any), bell(BASE + 1, any), None),
        (bell(BASE, any), bell(BASE + 2, W2), None),
        (
            Doorbell::new(0, IoAddress::Pio(0xb000), wild4, one.clone()),
            bell(0xb000, wild4),
            None,
        ),
    ] {
        let conflict = conflict(&rig, std::slice::from_ref(&there), wanted.clone());
        assert_eq!(
            conflict.map(|conflict| conflict.to_string()),
            expected,
            "{there:?} {wanted:?}"
        );
    }
    assert_eq!(ioctls(&rig.vm).0, 24, "those that were there");
}

#[test]
fn the_widest_of_several_below_is_seen() {
    let rig = rig();
    let one = notifier();
    let there = [
        mmio(0, BASE, Datamatch::Width(Width::W8), &one),
        mmio(1, BASE, Datamatch::U8(0), &one),
        mmio(2, BASE, Datamatch::U16(3), &one),
    ];
    assert!(conflict(&rig, &there, mmio(3, BASE + 6, W2, &one)).is_some());
    assert!(conflict(&rig, &there[1..], mmio(3, BASE + 6, W2, &one)).is_none());
}

#[test]
fn what_a_set_gives_up_hides_nobody_elses() {
    let rig = rig();
    let one = notifier();
    let other = DoorbellSet::new(&rig.registry);
    have(&other, [mmio(0, BASE, W4, &one)]);
    have(&rig.set, [mmio(0, BASE, Datamatch::Width(Width::W8), &one)]);
    let wanted = |at| rig.set.plan([mmio(0, at, W2, &one)]).map(drop);
    assert!(found(wanted(BASE + 2)).is_some());
    assert!(found(wanted(BASE + 4)).is_none());
}

#[test]
fn what_reaches_over_a_nearer_one_is_seen() {
    let rig = rig();
    let one = notifier();
    let w8 = mmio(0, BASE, Datamatch::Width(Width::W8), &one);
    have(&rig.set, [w8]);
    // The undo of a failed change leaves a byte within a doorbell that is registered again.
    rig.vm.fail(CallKind::IoEventFdAssign, 2, 12);
    rig.vm.fail(CallKind::IoEventFdDeassign, 2, 12);
    let byte = mmio(1, BASE + 4, Datamatch::U8(0), &one);
    let failed = change(&rig.set, [byte, mmio(2, BASE + 0x100, W2, &one)]);
    assert!(matches!(failed, Err(Error::NotUndone { .. })));
    let other = DoorbellSet::new(&rig.registry);
    let wanted = |at| other.plan([mmio(0, at, Datamatch::U8(0), &one)]).map(drop);
    for (at, free) in [(3, false), (4, false), (6, false), (7, false), (8, true)] {
        assert_eq!(found(wanted(BASE + at)).is_none(), free, "{at}");
    }
}

#[test]
fn what_no_guest_can_write_is_refused() {
    let rig = rig();
    let one = notifier();
    let port = |port, datamatch| Doorbell::new(0, IoAddress::Pio(port), datamatch, one.clone());
    for bell in [
        port(0xffff, W2),
        port(0xfffd, W4),
        port(0x100, Datamatch::U64(0)),
        mmio(0, u64::MAX - 3, W4, &one),
        mmio(0, 1 << 59, Datamatch::AnyWrite, &one),
        mmio(0, 1 << 59, W4, &one),
        mmio(0, BASE + 0xffe, W4, &one),
        mmio(0, BASE + 0xfff, Datamatch::U16(1), &one),
    ] {
        let error = rig.set.plan([bell]).unwrap_err();
        assert!(matches!(error, Error::NoSuchWrite { .. }), "{error}");
    }
    have(
        &rig.set,
        [port(0xfffe, W2), mmio(0, BASE + 0xffc, W4, &one)],
    );
    assert_eq!(ioctls(&rig.vm), (2, 0));
}

#[test]
fn a_plan_is_of_one_state_of_one_set() {
    let rig = rig();
    let all = notifiers(2);
    let (plan, other) = (
        rig.set.plan(queues(BASE, &all)).unwrap(),
        rig.set.plan(queues(ELSEWHERE, &all)).unwrap(),
    );
    let set = DoorbellSet::new(&rig.registry);
    let refused = set.apply(plan).unwrap_err();
    assert_eq!(refused.error, Error::OtherSet);
    rig.set.apply(refused.value).unwrap();
    ioctls(&rig.vm);
    assert!(matches!(
        rig.set.apply(other).unwrap_err().error,
        Error::StalePlan
    ));
    let stopped = rig.set.plan([]).unwrap();
    drop(rig.set.stop().unwrap());
    assert!(matches!(
        rig.set.apply(stopped).unwrap_err().error,
        Error::StalePlan
    ));
    let started = rig.set.plan([]).unwrap();
    rig.set.start().unwrap();
    assert!(matches!(
        rig.set.apply(started).unwrap_err().error,
        Error::StalePlan
    ));
}

#[test]
fn a_plan_outlives_a_start_or_stop_that_fails_and_is_undone() {
    let rig = rig();
    let all = notifiers(3);
    have(&rig.set, queues(BASE, &all));
    let plan = |first: usize| rig.set.plan(queues(BASE, &all[first..])).unwrap();
    for undone in [true, false] {
        let other_fault = |kind| {
            if !undone {
                rig.vm.fail(kind, 1, 12);
            }
        };
        let try_out = |plan| {
            rig.vm.clear_faults();
            match rig.set.apply(plan).map_err(|refused| refused.error) {
                Ok(_) => assert!(undone),
                Err(error) => assert!(!undone && matches!(error, Error::StalePlan), "{error}"),
            }
        };
        let of_started = plan(1);
        rig.vm.fail(CallKind::IoEventFdDeassign, 2, 12);
        other_fault(CallKind::IoEventFdAssign);
        assert!(rig.set.stop().is_err());
        try_out(of_started);

        drop(rig.set.stop().unwrap());
        have(&rig.set, queues(BASE, &all));
        let of_stopped = plan(1);
        rig.vm.fail(CallKind::IoEventFdAssign, 2, 12);
        other_fault(CallKind::IoEventFdDeassign);
        assert!(rig.set.start().is_err());
        try_out(of_stopped);
        have(&rig.set, queues(BASE, &all));
        rig.set.start().unwrap();
    }
}

#[test]
fn a_doorbell_of_nobodys_shows_when_the_plan_is_applied() {
    let rig = rig();
    let address = IoAddress::Mmio(BASE);
    let foreign = ioeventfd::IoEventFd::builder(rig.vm.clone(), address, W2)
        .assign()
        .unwrap();
    let plan = rig.set.plan(queues(BASE, &notifiers(1))).unwrap();
    let refused = rig.set.apply(plan).unwrap_err();
    assert!(matches!(refused.error, Error::Taken { .. }));
    drop(foreign);
    rig.set.apply(refused.value).unwrap();
}

#[test]
fn dropping_a_set_frees_its_places() {
    let rig = rig();
    let other = DoorbellSet::new(&rig.registry);
    have(&other, queues(BASE, &notifiers(4)));
    drop(other);
    assert_eq!(ioctls(&rig.vm), (4, 4));
    have(&rig.set, queues(BASE, &notifiers(4)));
}

#[test]
fn a_plan_or_an_epoch_of_another_vm_is_refused() {
    let (rig, other) = (rig(), rig());
    let plan = rig.set.plan(queues(BASE, &notifiers(1))).unwrap();
    let refused = other.set.apply(plan).unwrap_err();
    assert_eq!(refused.error, Error::OtherSet);
    assert_eq!((ioctls(&rig.vm), ioctls(&other.vm)), ((0, 0), (0, 0)));
    let epoch = rig.set.apply(refused.value).unwrap();
    assert_eq!(other.set.vcpus_passed(epoch), Err(Error::OtherSet));
    rig.set.vcpus_passed(epoch).unwrap();
}

#[test]
fn a_set_is_in_order_after_any_change() {
    let one = notifier();
    let bells = |these: u64| {
        let these = (0..4).filter(move |n| these >> n & 1 == 1);
        these.map(|n| mmio(n, BASE + n * 4, W2, &one))
    };
    let rig = rig();
    for (before, after) in (0..16).flat_map(|one| (0..16).map(move |other| (one, other))) {
        have(&rig.set, bells(before));
        have(&rig.set, bells(after));
        ioctls(&rig.vm);
        have(&rig.set, bells(after));
        assert_eq!(ioctls(&rig.vm), (0, 0), "{before:b}, then {after:b}");
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Every ioctl of every change fails in turn, including those of the undo.

use std::sync::Arc;

use ioeventfd::{Datamatch, Doorbell, DoorbellSet, Error, IoAddress};
use notify_core::EventNotifier;
use notify_sim::CallKind::{self, IoEventFdAssign, IoEventFdDeassign};

use crate::common::*;

const ENOMEM: i32 = 12;

/// The doorbells before, those after, and the notifiers of both.
struct Change {
    before: Vec<Doorbell>,
    after: Vec<Doorbell>,
    all: Vec<Arc<EventNotifier>>,
}

/// One of each kind: kept, removed, added, moved, moved onto another's place, with another
/// notifier, with another value, from all values to one.
fn change_of_each_kind() -> Change {
    let all = notifiers(10);
    let bell = |key: u64, at: u64, datamatch, notifier: usize| {
        mmio(key, BASE + at, datamatch, &all[notifier])
    };
    let before = vec![
        bell(0, 0, W2, 0),
        bell(1, 4, W2, 1),
        bell(2, 8, W2, 2),
        bell(3, 12, W2, 3),
        bell(4, 16, W2, 4),
        bell(5, 20, Datamatch::U16(5), 5),
        bell(6, 24, W4, 6),
        bell(7, 32, Datamatch::AnyWrite, 7),
    ];
    let after = vec![
        bell(0, 0, W2, 0),
        bell(8, 100, W2, 8),
        bell(2, 12, W2, 2),
        bell(3, 8, W2, 3),
        bell(4, 16, W2, 9),
        bell(5, 20, Datamatch::U16(6), 5),
        bell(6, 26, W4, 6),
        bell(7, 32, Datamatch::U16(7), 7),
    ];
    Change { before, after, all }
}

/// What each relevant write rings by the kernel alone: a row of counts for each.
fn behaviour(rig: &Rig, all: &[Arc<EventNotifier>]) -> Vec<(u64, usize, Vec<u64>)> {
    let pending = take(all);
    let mut rows = Vec::new();
    for at in [0, 4, 8, 12, 16, 20, 24, 26, 28, 32, 100] {
        for bytes in [&[5u8, 0][..], &[6, 0], &[7, 0], &[0; 4], &[0; 1]] {
            rig.vm.guest_write(notify_core::Bus::Mmio, BASE + at, bytes);
            rows.push((at, bytes.len(), take(all)));
        }
    }
    put(all, &pending);
    rows
}

fn put(all: &[Arc<EventNotifier>], kicks: &[u64]) {
    for (one, kicks) in all.iter().zip(kicks) {
        (0..*kicks).for_each(|_| one.notify().unwrap());
    }
}

fn same(one: &[Doorbell], other: &[Doorbell]) -> bool {
    let parts = |bells: &[Doorbell]| {
        let mut parts: Vec<_> = bells
            .iter()
            .map(|bell| {
                (
                    bell.address,
                    bell.datamatch,
                    bell.key,
                    Arc::as_ptr(&bell.notifier),
                )
            })
            .collect();
        parts.sort();
        parts
    };
    parts(one) == parts(other)
}

fn rig_with(removals_first: bool) -> Rig {
    let mut rig = rig();
    if removals_first {
        rig.set = DoorbellSet::new(&rig.registry).removals_first();
    }
    rig
}

/// Whether each doorbell's notifier is signalled exactly once when a guest rings it, by the kernel
/// or by an exit.
#[track_caller]
pub(crate) fn expect_all_heard(rig: &Rig, bells: &[Doorbell], all: &[Arc<EventNotifier>]) {
    take(all);
    for bell in bells {
        let value = bell.datamatch.value().unwrap_or(0).to_le_bytes();
        let width = (bell.datamatch.bytes().max(1)) as usize;
        let (heard, _) = ring(rig, bell.address, &value[..width]);
        assert!(heard, "{bell:?}");
        assert_eq!(take(std::slice::from_ref(&bell.notifier)), [1], "{bell:?}");
        assert_eq!(
            take(all).iter().sum::<u64>(),
            0,
            "{bell:?} rang another's notifier"
        );
    }
}

#[test]
fn a_fault_at_any_ioctl_of_a_change_leaves_everything_as_it_was() {
    for removals_first in [false, true] {
        let mut faults = 0;
        for kind in [IoEventFdAssign, IoEventFdDeassign] {
            for nth in 1.. {
                let rig = rig_with(removals_first);
                let Change { before, after, all } = change_of_each_kind();
                have(&rig.set, before.clone());
                put(&all[..8], &[1, 2, 3, 4, 5, 6, 7, 8]);
                let was = behaviour(&rig, &all);
                let plan = rig.set.plan(after.clone()).unwrap();
                rig.vm.fail(kind, nth, ENOMEM);
                let refused = match rig.set.apply(plan) {
                    Ok(_) => break,
                    Err(refused) => refused,
                };
                faults += 1;
                rig.vm.clear_faults();
                assert!(matches!(
                    refused.error,
                    Error::Refused { .. } | Error::StaysRegistered { .. }
                ));
                assert!(same(&rig.set.doorbells(), &before));
                expect_kicks(&all, &[1, 2, 3, 4, 5, 6, 7, 8, 0, 0]);
                assert_eq!(behaviour(&rig, &all), was, "{kind:?} {nth}");
                expect_all_heard(&rig, &before, &all);
                // The set still owns its places, and those that it did not get are free.
                let other = DoorbellSet::new(&rig.registry);
                for bell in &before {
                    assert!(other.plan([bell.clone()]).is_err());
                }
                have(&other, [mmio(0, BASE + 100, W2, &all[8])]);
                drop(other);
                // The same plan can be applied again.
                rig.set.apply(refused.value).unwrap();
                assert!(same(&rig.set.doorbells(), &after));
                expect_all_heard(&rig, &after, &all);
            }
        }
        // Seven additions and seven removals.
        assert_eq!(faults, 14, "removals first: {removals_first}");
    }
}

/// Two faults: one makes the change fail, the other comes during the undo, or both.
#[test]
fn an_undo_that_fails_says_so_and_loses_nothing() {
    let mut not_undone = 0;
    for removals_first in [false, true] {
        for (one, other) in [
            (IoEventFdAssign, IoEventFdAssign),
            (IoEventFdAssign, IoEventFdDeassign),
            (IoEventFdDeassign, IoEventFdAssign),
            (IoEventFdDeassign, IoEventFdDeassign),
        ] {
            for nth in 1..=8 {
                for later in 1..=12 {
                    let faults = [(one, nth), (other, later)];
                    not_undone += u32::from(undo_fails(removals_first, faults));
                }
            }
        }
    }
    assert!(not_undone > 100, "{not_undone}");
}

/// Whether something was not undone.
fn undo_fails(removals_first: bool, faults: [(CallKind, u64); 2]) -> bool {
    let rig = rig_with(removals_first);
    let Change { before, after, all } = change_of_each_kind();
    have(&rig.set, before.clone());
    put(&all[..8], &[1, 2, 3, 4, 5, 6, 7, 8]);
    let was = behaviour(&rig, &all);
    for (kind, nth) in faults {
        rig.vm.fail(kind, nth, ENOMEM);
    }
    let result = rig.set.apply(rig.set.plan(after.clone()).unwrap());
    rig.vm.clear_faults();
    let Err(refused) = result else {
        return false;
    };
    let error = refused.error;
    assert!(same(&rig.set.doorbells(), &before), "{error}");
    expect_kicks(&all, &[1, 2, 3, 4, 5, 6, 7, 8, 0, 0]);
    let Error::NotUndone {
        cause, unrestored, ..
    } = &error
    else {
        assert_eq!(behaviour(&rig, &all), was);
        return false;
    };
    assert!(matches!(
        **cause,
        Error::Refused { .. } | Error::StaysRegistered { .. }
    ));
    assert!(!unrestored.is_empty());
    let again = rig.set.apply(refused.value).unwrap_err();
    assert!(
        matches!(again.error, Error::StalePlan),
        "what is there is not what it was"
    );
    for one in unrestored {
        // The error's statement must be true.
        let bells = if one.registered { &after } else { &before };
        let bell = bells
            .iter()
            .find(|bell| (bell.address, bell.datamatch) == (one.address, one.datamatch));
        let bell = bell.expect("one of the change's");
        assert_eq!(bell.key, one.key);
        if one.registered {
            let other = DoorbellSet::new(&rig.registry);
            assert!(
                other.plan([bell.clone()]).is_err(),
                "no other set gets what is stuck"
            );
        }
        assert!(error.to_string().contains(&one.address.to_string()));
    }
    // Kicks of a guest that knows only the old doorbells arrive, unless the kernel delivers them to
    // a doorbell that is stuck at the same address.
    let stuck = |bell: &Doorbell| {
        unrestored
            .iter()
            .any(|one| one.registered && one.address == bell.address)
    };
    let sound: Vec<_> = before.iter().filter(|bell| !stuck(bell)).cloned().collect();
    expect_all_heard(&rig, &sound, &all);

    // A failed change can be repeated; the doorbell that is stuck in its places is deregistered
    // before.
    if faults[1].1.is_multiple_of(2) {
        have(&rig.set, after.clone());
        expect_all_heard(&rig, &after, &all);
    }
    // Planning the same doorbells again repairs it.
    have(&rig.set, before.clone());
    // Any change deregisters stuck doorbells, even if there was nothing to repair.
    have(
        &rig.set,
        before
            .iter()
            .cloned()
            .chain([mmio(99, ELSEWHERE, W2, &all[0])]),
    );
    have(&rig.set, before.clone());
    take(&all);
    put(&all[..8], &[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(behaviour(&rig, &all), was);
    let other = DoorbellSet::new(&rig.registry);
    have(&other, [mmio(0, BASE + 100, W2, &all[8])]);
    drop(other);
    drop(rig.set);
    for at in 0..110 {
        assert!(!kernel_takes(&rig.vm, BASE + at, &[0; 2]), "{at}");
    }
    true
}

#[test]
fn a_fault_at_any_ioctl_of_stop_and_start_leaves_everything_as_it_was() {
    let all = notifiers(6);
    let bells = queues(BASE, &all);
    let rig = rig();
    have(&rig.set, bells.clone());
    let on = |on: bool| {
        (0..6).for_each(|n| assert_eq!(kernel_takes(&rig.vm, BASE + n * 4, &[0; 2]), on))
    };
    for nth in 1..=6 {
        rig.vm.fail(IoEventFdDeassign, nth, ENOMEM);
        assert!(matches!(
            rig.set.stop().unwrap_err(),
            Error::StaysRegistered { .. }
        ));
        assert!(rig.set.is_started());
        on(true);
        expect_kicks(&all, &[1; 6]);
    }
    let stopped = rig.set.stop().unwrap();
    rig.set.vcpus_passed(stopped.epoch).unwrap();
    for nth in 1..=6 {
        rig.vm.fail(IoEventFdAssign, nth, ENOMEM);
        assert!(matches!(
            rig.set.start().unwrap_err(),
            Error::Refused { .. }
        ));
        assert!(!rig.set.is_started());
        assert_eq!(rig.set.key_of_write(IoAddress::Mmio(BASE), &[0; 2]), None);
        on(false);
        expect_kicks(&all, &[0; 6]);
    }
    rig.set.start().unwrap();
    on(true);
    expect_kicks(&all, &[2; 6]);
}

#[test]
fn a_start_or_stop_that_cannot_be_undone_is_made_good_by_the_next() {
    let all = notifiers(4);
    let rig = rig();
    have(&rig.set, queues(BASE, &all));
    // The third deregistration fails, and so does registering the second doorbell again.
    rig.vm.fail(IoEventFdDeassign, 3, ENOMEM);
    rig.vm.fail(IoEventFdAssign, 1, ENOMEM);
    let error = rig.set.stop().unwrap_err();
    let Error::NotUndone { unrestored, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(
        (
            unrestored.len(),
            unrestored[0].key,
            unrestored[0].registered
        ),
        (1, 1, false)
    );
    assert!(rig.set.is_started());
    expect_all_heard(&rig, &rig.set.doorbells(), &all);
    ioctls(&rig.vm);
    have(&rig.set, rig.set.doorbells());
    assert_eq!(ioctls(&rig.vm), (1, 0), "one is repaired");
    drop(rig.set.stop().unwrap());

    rig.vm.fail(IoEventFdAssign, 3, ENOMEM);
    rig.vm.fail(IoEventFdDeassign, 1, ENOMEM);
    let error = rig.set.start().unwrap_err();
    let Error::NotUndone { unrestored, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((unrestored[0].key, unrestored[0].registered), (1, true));
    assert!(!rig.set.is_started());
    ioctls(&rig.vm);
    rig.set.start().unwrap();
    assert_eq!(ioctls(&rig.vm), (3, 0));
    take(&all);
    expect_all_heard(&rig, &rig.set.doorbells(), &all);
}

#[test]
fn the_kernels_and_our_own_idea_of_any_width_agree() {
    let rig = rig();
    let one = notifier();
    have(&rig.set, [mmio(0, BASE, Datamatch::AnyWrite, &one)]);
    rig.vm.fail(CallKind::CheckExtension, 1, ENOMEM);
    let wanted = [
        mmio(0, BASE, W2, &one),
        mmio(0, ELSEWHERE, Datamatch::AnyWrite, &one),
    ];
    assert!(matches!(
        change(&rig.set, wanted),
        Err(Error::Refused { .. })
    ));
    rig.vm.clear_faults();
    assert!(kernel_takes(&rig.vm, BASE, &[0]));
    assert_eq!(rig.set.key_of_write(IoAddress::Mmio(BASE), &[0]), Some(0));
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The guest's actions while a route is being committed.

use std::sync::Arc;

use irqfd::{ArmQueue, Vector};
use notify_core::{EventFd, EventNotifier};

use super::{Machine, expect_state, exported, guilty, message, queued, table};

/// An exported vector, with a queue and without one, and the call that arms it.
fn both(run: impl Fn(&Arc<Machine>, Arc<Vector>, Arc<EventNotifier>, &dyn Fn(&Vector))) {
    let (vm, table_) = table();
    let (vector, notifier) = exported(&table_, 0x40);
    let machine = Arc::clone(&vm);
    run(&vm, Arc::new(vector), notifier, &|vector| {
        let _ = vector.unmask();
        machine.join();
    });

    let (vm, table_) = table();
    let queue = ArmQueue::new(&table_).unwrap();
    let (vector, notifier) = queued(&queue, &table_, 0x40);
    let machine = Arc::clone(&vm);
    run(&vm, Arc::new(vector), notifier, &|vector| {
        vector.unmask().unwrap();
        while queue.waiting() > 0 {
            drop(queue.run_pending());
            machine.join();
        }
    });
}

#[test]
fn a_mask_is_complete_at_once_and_nothing_is_armed_afterwards() {
    both(|vm, vector, notifier, arm| {
        let other = vector.clone();
        vm.during_commit(move || {
            expect_state(&other, "Arming");
            other.mask();
            expect_state(&other, "Masked");
        });
        arm(&vector);
        expect_state(&vector, "Masked");
        vm.expect_calls([1, 0, 0, 0]);
        notifier.notify().unwrap();
        vm.expect(&[]);
        arm(&vector);
        vm.expect(&[0x40]);
        // The route is there.
        vm.expect_calls([0, 1, 0, 0]);
    });
}

#[test]
fn a_signal_that_comes_when_it_is_just_armed_is_not_lost() {
    both(|vm, vector, notifier, arm| {
        vm.during_bind(move || notifier.notify().unwrap());
        arm(&vector);
        vm.expect(&[0x40]);
    });
}

/// A peer that holds the notifier can fill it while it is not armed.
#[test]
fn a_trigger_empties_a_notifier_that_was_full() {
    both(|vm, vector, notifier, arm| {
        let eventfd: &EventFd = (*notifier).as_ref();
        eventfd.write(u64::MAX - 1).unwrap();
        arm(&vector);
        vm.expect(&[0x40]);
        vector.trigger().unwrap();
        vm.expect(&[0x40]);
        notifier.notify().unwrap();
        vm.expect(&[0x40]);
    });
}

#[test]
fn a_new_message_is_committed_before_anything_is_armed() {
    both(|vm, vector, notifier, arm| {
        let (other, seen) = (vector.clone(), vector.clone());
        let change = move || {
            notifier.notify().unwrap();
            other.set_message(message(0x41)).unwrap();
        };
        vm.elsewhere_during_commit(change, move || seen.message() == message(0x41));
        arm(&vector);
        expect_state(&vector, "Armed");
        vm.expect(&[0x41]);
        vm.expect_calls([2, 1, 0, 0]);
    });
}

#[test]
fn masked_changed_and_unmasked() {
    both(|vm, vector, notifier, arm| {
        let (other, seen) = (vector.clone(), vector.clone());
        let change = move || {
            other.mask();
            other.set_message(message(0x41)).unwrap();
            notifier.notify().unwrap();
            other.unmask().unwrap();
        };
        let has_begun = move || seen.message() == message(0x41) && !seen.is_masked();
        vm.elsewhere_during_commit(change, has_begun);
        arm(&vector);
        expect_state(&vector, "Armed");
        vm.expect(&[0x41]);
        vm.expect_calls([2, 1, 0, 0]);
    });
}

#[test]
fn a_bad_message_that_is_mended_meanwhile_is_no_failure() {
    both(|vm, vector, notifier, arm| {
        vector.set_message(guilty(0x40)).unwrap();
        let (other, seen) = (vector.clone(), vector.clone());
        let mend = move || other.set_message(message(0x41)).unwrap();
        vm.elsewhere_during_commit(mend, move || seen.message() == message(0x41));
        notifier.notify().unwrap();
        arm(&vector);
        expect_state(&vector, "Armed");
        vm.expect(&[0x41]);
    });
}

#[test]
fn unexport_leaves_it_internal() {
    both(|vm, vector, notifier, arm| {
        let other = vector.clone();
        vm.during_commit(move || {
            notifier.notify().unwrap();
            other.unexport().unwrap();
            expect_state(&other, "Open");
        });
        arm(&vector);
        expect_state(&vector, "Open");
        vm.expect(&[0x40]);
        vm.expect_calls([1, 0, 0, 1]);
        vector.trigger().unwrap();
        vm.expect(&[0x40]);
    });
}

#[test]
fn unexported_and_exported_anew() {
    both(|vm, vector, _, arm| {
        let (other, old) = (vector.clone(), vector.notifier().unwrap());
        let seen = vector.clone();
        let change = move || {
            other.unexport().unwrap();
            other.export().unwrap();
        };
        let is_new = move || seen.notifier().is_some_and(|new| !Arc::ptr_eq(&new, &old));
        vm.elsewhere_during_commit(change, is_new);
        arm(&vector);
        expect_state(&vector, "Armed");
        vector.trigger().unwrap();
        vm.expect(&[0x40]);
    });
}

#[test]
fn the_other_handles_may_be_dropped() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, notifier) = queued(&queue, &table, 0x40);
    let (_kept, _) = queued(&queue, &table, 0x41);
    vector.unmask().unwrap();
    vm.during_commit(move || drop(vector));
    assert_eq!(queue.run_pending().armed, 1);
    // The round had it until its end.
    vm.expect_calls([1, 1, 1, 0]);
    assert_eq!((table.leased(), Arc::strong_count(&notifier)), (0, 1));
}

#[test]
fn what_is_unmasked_meanwhile_waits_for_the_next_round() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let (first, _) = queued(&queue, &table, 0x40);
    let (second, _) = queued(&queue, &table, 0x41);
    first.unmask().unwrap();
    let second = Arc::new(second);
    let other = Arc::clone(&second);
    vm.during_commit(move || other.unmask().unwrap());
    assert_eq!(queue.run_pending().armed, 1);
    expect_state(&second, "Queued");
    assert!(super::queue::is_readable(&queue));
    assert_eq!(queue.run_pending().armed, 1);
    vm.expect_calls([2, 2, 0, 0]);
}

#[test]
fn the_owner_may_go_meanwhile() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, notifier) = queued(&queue, &table, 0x40);
    vector.unmask().unwrap();
    notifier.notify().unwrap();
    let vector = Arc::new(vector);
    let (other, seen) = (Arc::clone(&vector), vector.handle().clone());
    // In the last round the message changes: there is no other round, and no other owner.
    let change = move || other.set_message(message(0x41)).unwrap();
    vm.elsewhere_during_commit(change, move || seen.message() == message(0x41));
    drop(queue);
    vm.join();
    expect_state(&vector, "Armed");
    vm.expect(&[0x41]);
    vm.expect_calls([2, 1, 0, 0]);
}

#[test]
fn what_is_wanted_otherwise_calls_the_owner_again() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, _) = queued(&queue, &table, 0x40);
    vector.unmask().unwrap();
    let vector = Arc::new(vector);
    let other = Arc::clone(&vector);
    vm.during_commit(move || other.set_message(message(0x41)).unwrap());
    assert_eq!(queue.run_pending().armed, 0);
    expect_state(&vector, "Queued");
    assert!(super::queue::is_readable(&queue) && queue.waiting() == 1);
    assert_eq!(queue.run_pending().armed, 1);
}

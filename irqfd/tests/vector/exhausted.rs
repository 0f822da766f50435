// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Vectors for which no GSI is free.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;

use irq_routing::{GsiLease, RoutingTable, Wiring};
use irqfd::{ArmQueue, Triggered, Vector, VectorError, VectorState};
use kvm_test::{ThreadId, wait_until};
use notify_sim::CallKind;

use super::queue::is_readable;
use super::{Machine, expect_state, exported, message, queued, table, table_of};

/// A table without a free GSI.
fn exhausted() -> (Arc<Machine>, RoutingTable, Vec<GsiLease>) {
    let (vm, table) = table();
    let leases = std::iter::from_fn(|| table.lease().ok()).collect();
    (vm, table, leases)
}

#[test]
fn the_owner_is_told_and_arms_them_when_gsis_are_free() {
    let (vm, table, mut leases) = exhausted();
    let queue = ArmQueue::new(&table).unwrap();
    let vectors: Vec<_> = (0..3).map(|n| queued(&queue, &table, n)).collect();
    for (vector, notifier) in &vectors {
        notifier.notify().unwrap();
        vector.unmask().unwrap();
    }
    for _ in 0..2 {
        let round = queue.run_pending();
        assert_eq!((round.armed, round.failed.len()), (0, 3));
        for dead in &round.failed {
            assert!(matches!(&dead.reason, VectorError::NoGsi { .. }));
        }
        vm.expect_calls([0, 0, 0, 0]);
        // A timer calls the owner again.
        wait_until(|| is_readable(&queue));
    }
    leases.truncate(leases.len() - 2);
    let round = queue.run_pending();
    assert_eq!((round.armed, round.failed.len()), (2, 1));
    vm.expect(&[0, 1]);
    for ((vector, _), state) in vectors.iter().zip(["Armed", "Armed", "Dead(NoGsi"]) {
        expect_state(vector, state);
    }
    // Its signal waits with it.
    let (last, _) = &vectors[2];
    assert!(last.is_pending());
    assert_eq!(last.trigger().unwrap(), Triggered::Dead);
    drop(leases);
    assert_eq!(queue.run_pending().armed, 1);
    vm.expect(&[2]);
}

#[test]
fn masked_they_keep_their_signals_and_are_not_tried() {
    let (vm, table, leases) = exhausted();
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, notifier) = queued(&queue, &table, 0x40);
    vector.unmask().unwrap();
    drop(queue.run_pending());
    vector.mask();
    notifier.notify().unwrap();
    assert!(vector.is_pending());
    drop(leases);
    let round = queue.run_pending();
    assert_eq!((round.armed, round.failed.len()), (0, 0));
    vm.expect(&[]);
    vector.unmask().unwrap();
    assert_eq!(queue.run_pending().armed, 1);
    vm.expect(&[0x40]);
}

#[test]
fn without_a_queue_it_is_dead_and_unmasking_tries_again() {
    let (vm, table, mut leases) = exhausted();
    let (vector, notifier) = exported(&table, 0x40);
    notifier.notify().unwrap();
    let Err(reason) = vector.unmask() else {
        panic!("there is no GSI");
    };
    assert!(matches!(&reason, VectorError::NoGsi { .. }));
    expect_state(&vector, "Dead(NoGsi");
    drop(leases.pop());
    vector.unmask().unwrap();
    expect_state(&vector, "Dead(NoGsi");
    // The guest writes its message once more, or masks and unmasks.
    vector.set_message(message(0x40)).unwrap();
    expect_state(&vector, "Armed");
    vm.expect(&[0x40]);
}

#[test]
fn they_are_dead_when_the_owner_goes() {
    let (vm, table, mut leases) = exhausted();
    let queue = ArmQueue::new(&table).unwrap();
    let (failed, notifier) = queued(&queue, &table, 0x40);
    let (waits, _) = queued(&queue, &table, 0x41);
    failed.unmask().unwrap();
    drop(queue.run_pending());
    waits.unmask().unwrap();
    notifier.notify().unwrap();
    drop(queue);
    expect_state(&failed, "Dead(NoGsi");
    expect_state(&waits, "Dead(NoGsi");
    assert!(failed.is_pending());
    drop(leases.pop());
    failed.mask();
    failed.unmask().unwrap();
    expect_state(&failed, "Armed");
    vm.expect(&[0x40]);
}

/// A VMM with more exported vectors than the table has entries keeps the others internal, reads
/// their notifiers by itself, and triggers them.
#[test]
fn an_internal_vector_needs_no_gsi() {
    let (vm, table, _leases) = exhausted();
    let vector = super::internal(&table, 0x40);
    vector.unmask().unwrap();
    let call = notify_core::EventNotifier::new().unwrap();
    call.notify().unwrap();
    if call.consume().unwrap().is_some() {
        vector.trigger().unwrap();
    }
    vm.expect(&[0x40]);
}

/// No GSI is free but one that is being committed, and the round waits for that commit. A mask does
/// not.
#[test]
fn a_mask_waits_for_no_commit() {
    let (vm, table, mut leases) = exhausted();
    let queue = Arc::new(ArmQueue::new(&table).unwrap());
    let (vector, _) = queued(&queue, &table, 0x40);
    vector.unmask().unwrap();
    drop(queue.run_pending());
    let lease = leases.pop().unwrap();
    let mut transaction = table.transaction();
    transaction.route(&lease, message(0x41));
    let vector = Arc::new(vector);
    let (other, rounds) = (Arc::clone(&vector), Arc::clone(&queue));
    let (tell, told) = channel();
    vm.during_commit(move || {
        drop(lease);
        let (sender, id) = channel();
        thread::spawn(move || {
            sender.send(ThreadId::current().unwrap()).unwrap();
            drop(rounds.run_pending());
            let _ = tell.send(());
        });
        id.recv().unwrap().wait_until_asleep().unwrap();
        let masks = thread::spawn(move || other.mask());
        wait_until(|| masks.is_finished());
    });
    transaction.commit().unwrap();
    told.recv().unwrap();
    expect_state(&vector, "Masked");
}

/// A table with so many entries left, and more GSIs than that.
fn entries_left(left: usize) -> (Arc<Machine>, RoutingTable, Vec<GsiLease>) {
    let (vm, table) = table_of(Wiring::pc());
    table.recommit().unwrap();
    let wired: usize = 38;
    let count = 4096 - wired - left;
    let leases: Vec<_> = (0..count).map(|_| table.lease().unwrap()).collect();
    let mut transaction = table.transaction();
    for lease in &leases {
        transaction.route(lease, message(0x30));
    }
    transaction.commit().unwrap();
    vm.sim.reset_calls();
    (vm, table, leases)
}

#[test]
fn a_device_that_was_reset_leaves_its_gsis_to_another() {
    let by_number = || {
        let (vm, table, mut leases) = exhausted();
        leases.truncate(leases.len() - 4);
        (vm, table, leases)
    };
    for (vm, table, leases) in [by_number(), entries_left(4)] {
        let devices = [0x40, 0x50].map(|first| {
            let vectors = (0..4).map(|n| exported(&table, first + n).0);
            vectors.collect::<Vec<_>>()
        });
        let [first, second] = &devices;
        first.iter().for_each(|vector| vector.unmask().unwrap());
        second[0].unmask().unwrap_err();
        assert!(matches!(second[0].state(), VectorState::Dead(_)));
        second[0].mask();
        for (from, to) in [(first, second), (second, first), (first, second)] {
            from.iter().for_each(Vector::mask);
            for vector in to {
                vector.unmask().unwrap();
                vector.trigger().unwrap();
            }
            let data: Vec<_> = to.iter().map(|vector| vector.message().data).collect();
            vm.expect(&data);
            assert!(from.iter().all(|vector| vector.gsi().is_none()));
        }
        // Those of the caller are as they were.
        assert_eq!(table.leased(), leases.len() + 4);
    }
}

/// Those that do not fit are dead, report why, and are armed when there is room.
#[test]
fn no_more_are_dead_than_do_not_fit() {
    for has_queue in [false, true] {
        let (vm, table, mut leases) = entries_left(10);
        let queue = ArmQueue::new(&table).unwrap();
        let vectors = (0..20).map(|n| match has_queue {
            true => queued(&queue, &table, 0x40 + n).0,
            false => exported(&table, 0x40 + n).0,
        });
        let vectors: Vec<_> = vectors.collect();
        vectors.iter().for_each(|vector| drop(vector.unmask()));
        let _ = queue.run_pending();
        let armed = || {
            let states = vectors.iter().map(|vector| vector.state());
            states
                .filter(|state| matches!(state, VectorState::Armed))
                .count()
        };
        let dead = vectors.iter().filter_map(|vector| match vector.state() {
            VectorState::Dead(reason) => Some(reason),
            _ => None,
        });
        let full = |reason: &VectorError| match reason {
            VectorError::Route { cause, .. } => {
                matches!(**cause, irq_routing::Error::TableFull { .. })
            }
            _ => false,
        };
        assert_eq!(
            (armed(), dead.filter(|reason| full(reason)).count()),
            (10, 10)
        );
        drop(leases.drain(..10));
        match has_queue {
            true => wait_until(|| is_readable(&queue)),
            false => vectors.iter().for_each(|vector| {
                let _ = vector.set_message(vector.message());
            }),
        }
        let _ = queue.run_pending();
        assert_eq!(armed(), 20);
        let _ = vm.sim.deliver();
    }
}

/// Its GSI was taken back, and its route is committed anew.
#[test]
fn without_shortage_a_mask_costs_no_commit() {
    let (vm, table, mut leases) = exhausted();
    leases.truncate(leases.len() - 1);
    let [(one, _), (other, _)] = [0x40, 0x41].map(|data| exported(&table, data));
    one.unmask().unwrap();
    vm.expect_calls([1, 1, 0, 0]);
    for _ in 0..3 {
        one.mask();
        one.unmask().unwrap();
        vm.expect_calls([0, 1, 1, 0]);
    }
    one.mask();
    other.unmask().unwrap();
    other.mask();
    one.trigger().unwrap();
    one.unmask().unwrap();
    vm.expect_calls([2, 2, 2, 0]);
    vm.expect(&[0x40]);
}

/// A vector that is not masked keeps its GSI, also while its queue has it: another vector that
/// waits for a GSI, before it in the queue, does not get that one.
#[test]
fn another_message_costs_no_gsi() {
    let (vm, table, mut leases) = exhausted();
    leases.truncate(leases.len() - 1);
    let queue = ArmQueue::new(&table).unwrap();
    let [(armed, notifier), (waits, _)] = [0x40, 0x41].map(|data| queued(&queue, &table, data));
    for vector in [&armed, &waits] {
        vector.unmask().unwrap();
        drop(queue.run_pending());
    }
    expect_state(&waits, "Dead(NoGsi");
    armed.set_message(message(0x42)).unwrap();
    assert!(armed.gsi().is_some());
    let round = queue.run_pending();
    assert_eq!((round.armed, round.failed.len()), (1, 1));
    expect_state(&armed, "Armed");
    notifier.notify().unwrap();
    vm.expect(&[0x42]);
    // A driver masks a vector before it writes another message. No round runs in between.
    armed.mask();
    armed.set_message(message(0x43)).unwrap();
    armed.unmask().unwrap();
    assert!(armed.gsi().is_some());
    drop(queue.run_pending());
    expect_state(&armed, "Armed");
    notifier.notify().unwrap();
    vm.expect(&[0x43]);
    armed.mask();
    drop(queue.run_pending());
    expect_state(&waits, "Armed");
}

/// It has a route already, and needs no other GSI unless the table has given its own to another
/// vector.
#[test]
fn a_vector_that_could_not_be_bound_leaves_its_gsi_and_may_have_it_back() {
    let (vm, table, mut leases) = exhausted();
    leases.truncate(leases.len() - 2);
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, _) = queued(&queue, &table, 0x40);
    vm.sim.fail(CallKind::IrqFdAssign, 1, libc::ENOMEM);
    vector.unmask().unwrap();
    assert_eq!(queue.run_pending().failed.len(), 1);
    vm.expect_calls([1, 1, 0, 0]);
    assert_eq!(queue.run_pending().armed, 1);
    vm.expect_calls([0, 1, 0, 0]);

    let [(dead, _), (other, _)] = [0x41, 0x42].map(|data| exported(&table, data));
    vm.sim.fail(CallKind::IrqFdAssign, 1, libc::ENOMEM);
    dead.unmask().unwrap_err();
    other.unmask().unwrap();
    other.trigger().unwrap();
    vm.expect(&[0x42]);
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Vectors for which no GSI is free.

use std::sync::Arc;

use irq_routing::{GsiLease, RoutingTable};
use irqfd::{ArmQueue, Error};

use super::queue::is_readable;
use super::{Machine, expect_state, exported, guilty, message, queued, table};

/// A table that has none left.
fn exhausted() -> (Arc<Machine>, RoutingTable, Vec<GsiLease>) {
    let (vm, table) = table();
    let leases = std::iter::from_fn(|| table.lease().ok()).collect();
    (vm, table, leases)
}

#[test]
fn their_signals_are_sent_by_the_owner() {
    let (vm, table, _leases) = exhausted();
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, notifier) = queued(&queue, &table, 0x40);
    notifier.notify().unwrap();
    vector.unmask().unwrap();
    let round = queue.run_pending();
    assert_eq!((round.armed, round.failed.len()), (0, 0));
    expect_state(&vector, "Relayed");
    // The signal that was there has the owner called, like any other.
    assert!(is_readable(&queue));
    assert_eq!(queue.run_pending().relayed, 1);
    vm.expect(&[0x40]);
    assert!(!is_readable(&queue) && !vector.is_pending());

    notifier.notify().unwrap();
    vector.trigger().unwrap();
    assert!(is_readable(&queue) && vector.is_pending());
    assert_eq!(queue.run_pending().relayed, 1);
    vm.expect(&[0x40]);
    vm.expect_calls([0, 0, 0, 2]);
    vector.set_message(message(0x41)).unwrap();
    vector.trigger().unwrap();
    assert_eq!(queue.run_pending().relayed, 1);
    vm.expect(&[0x41]);
}

#[test]
fn masked_they_keep_their_signals() {
    let (vm, table, _leases) = exhausted();
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, notifier) = queued(&queue, &table, 0x40);
    vector.unmask().unwrap();
    drop(queue.run_pending());
    vector.mask();
    notifier.notify().unwrap();
    assert!(!is_readable(&queue) && vector.is_pending());
    assert_eq!(queue.run_pending().relayed, 0);
    vm.expect(&[]);
    vector.unmask().unwrap();
    drop(queue.run_pending());
    assert_eq!(queue.run_pending().relayed, 1);
    vm.expect(&[0x40]);
}

#[test]
fn it_ends_when_a_gsi_is_free() {
    let (vm, table, mut leases) = exhausted();
    let queue = ArmQueue::new(&table).unwrap();
    let vectors: Vec<_> = (0..3).map(|n| queued(&queue, &table, n)).collect();
    vectors
        .iter()
        .for_each(|(vector, _)| vector.unmask().unwrap());
    drop(queue.run_pending());
    drop(leases.pop());
    drop(leases.pop());
    let round = queue.run_pending();
    assert_eq!((round.armed, round.failed.len()), (2, 0));
    let states = ["Armed", "Armed", "Relayed"];
    for ((vector, notifier), state) in vectors.iter().zip(states) {
        expect_state(vector, state);
        notifier.notify().unwrap();
    }
    vm.expect(&[0, 1]);
    assert_eq!(queue.run_pending().relayed, 1);
    vm.expect(&[2]);
}

#[test]
fn a_message_that_is_refused_makes_it_dead() {
    let (vm, table, _leases) = exhausted();
    let queue = ArmQueue::new(&table).unwrap();
    let (bad, notifier) = queued(&queue, &table, 0x40);
    let (good, _) = queued(&queue, &table, 0x41);
    bad.set_message(guilty(0x40)).unwrap();
    bad.unmask().unwrap();
    good.unmask().unwrap();
    drop(queue.run_pending());
    notifier.notify().unwrap();
    good.trigger().unwrap();
    assert_eq!(queue.run_pending().relayed, 1);
    vm.expect(&[0x41]);
    expect_state(&bad, "Dead(Signal");
    expect_state(&good, "Relayed");
    bad.set_message(message(0x42)).unwrap();
    expect_state(&bad, "Relayed");
    notifier.notify().unwrap();
    assert_eq!(queue.run_pending().relayed, 1);
    vm.expect(&[0x42]);
}

/// Unmasked anew, it is not dead before the kernel has refused it anew.
#[test]
fn unmasking_forgets_what_was_refused() {
    let (_vm, table, _leases) = exhausted();
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, _notifier) = queued(&queue, &table, 0x40);
    vector.set_message(guilty(0x40)).unwrap();
    vector.unmask().unwrap();
    drop(queue.run_pending());
    vector.trigger().unwrap();
    assert_eq!(queue.run_pending().relayed, 0);
    expect_state(&vector, "Dead(Signal");
    vector.mask();
    vector.unmask().unwrap();
    drop(queue.run_pending());
    expect_state(&vector, "Relayed");
}

#[test]
fn the_notifier_can_be_swapped() {
    let (vm, table, _leases) = exhausted();
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, old) = queued(&queue, &table, 0x40);
    vector.unmask().unwrap();
    drop(queue.run_pending());
    old.notify().unwrap();
    let new = Arc::new(notify_core::EventNotifier::new().unwrap());
    vector.replace_notifier(Arc::clone(&new)).unwrap();
    drop(queue.run_pending());
    expect_state(&vector, "Relayed");
    assert_eq!(queue.run_pending().relayed, 1);
    vm.expect(&[0x40]);
    old.notify().unwrap();
    assert!(!is_readable(&queue));
    new.notify().unwrap();
    assert_eq!(queue.run_pending().relayed, 1);
    vm.expect(&[0x40]);
}

#[test]
fn without_a_queue_it_is_dead_and_unmasking_tries_again() {
    let (vm, table, mut leases) = exhausted();
    let (vector, notifier) = exported(&table, 0x40);
    notifier.notify().unwrap();
    let Err(Error::Dead(reason)) = vector.unmask() else {
        panic!("there is no GSI");
    };
    assert!(matches!(&*reason, Error::Lease { .. }));
    expect_state(&vector, "Dead(Lease");
    drop(leases.pop());
    vector.unmask().unwrap();
    expect_state(&vector, "Dead(Lease");
    // The guest writes its message once more, or masks and unmasks.
    vector.set_message(message(0x40)).unwrap();
    expect_state(&vector, "Armed");
    vm.expect(&[0x40]);
}

#[test]
fn without_signal_msi_it_is_told_and_tried_again() {
    let (vm, table, mut leases) = exhausted();
    vm.lack_signal_msi();
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, _) = queued(&queue, &table, 0x40);
    vector.unmask().unwrap();
    for _ in 0..2 {
        let round = queue.run_pending();
        assert!(matches!(&*round.failed[0].reason, Error::Lease { .. }));
        expect_state(&vector, "Dead(Lease");
    }
    drop(leases.pop());
    assert_eq!(queue.run_pending().armed, 1);
}

#[test]
fn it_ends_with_the_owner() {
    let (vm, table, mut leases) = exhausted();
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, notifier) = queued(&queue, &table, 0x40);
    let (waits, _) = queued(&queue, &table, 0x41);
    vector.unmask().unwrap();
    drop(queue.run_pending());
    waits.unmask().unwrap();
    notifier.notify().unwrap();
    drop(queue);
    vm.expect(&[0x40]);
    expect_state(&vector, "Dead(QueueGone");
    expect_state(&waits, "Dead(QueueGone");
    notifier.notify().unwrap();
    assert!(vector.is_pending());
    drop(leases.pop());
    vector.mask();
    vector.unmask().unwrap();
    expect_state(&vector, "Armed");
    vm.expect(&[0x40]);
}

#[test]
fn many_are_served_in_turn() {
    let (vm, table, _leases) = exhausted();
    let queue = ArmQueue::new(&table).unwrap();
    let vectors: Vec<_> = (0..300).map(|n| queued(&queue, &table, n)).collect();
    for (vector, notifier) in &vectors {
        vector.unmask().unwrap();
        notifier.notify().unwrap();
    }
    drop(queue.run_pending());
    // Those that are signalled again and again do not keep the others away.
    let mut rounds = 0;
    let mut missing: std::collections::BTreeSet<_> = (0..300).collect();
    while !missing.is_empty() {
        rounds += 1;
        assert!(rounds <= 4 && is_readable(&queue));
        assert!(queue.run_pending().relayed <= 256);
        for injected in vm.sim.deliver() {
            if let notify_core::sim::Interrupt::Msi { data, .. } = injected.interrupt {
                missing.remove(&data);
                let (_, notifier) = &vectors[data as usize];
                notifier.notify().unwrap();
            }
        }
    }
    assert_eq!(table.leased(), table.limit() as usize - 24);
}

#[test]
fn unexported_it_is_relayed_no_more() {
    let (vm, table, _leases) = exhausted();
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, notifier) = queued(&queue, &table, 0x40);
    vector.unmask().unwrap();
    drop(queue.run_pending());
    notifier.notify().unwrap();
    vector.unexport().unwrap();
    vm.expect(&[0x40]);
    expect_state(&vector, "Open");
    notifier.notify().unwrap();
    assert!(!is_readable(&queue));
    assert_eq!(queue.run_pending().relayed, 0);
    vm.expect(&[]);
}

#[test]
fn a_relayed_vector_may_be_dropped() {
    let (vm, table, _leases) = exhausted();
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, notifier) = queued(&queue, &table, 0x40);
    vector.unmask().unwrap();
    drop(queue.run_pending());
    drop(vector);
    notifier.notify().unwrap();
    assert!(!is_readable(&queue));
    assert_eq!(queue.run_pending().relayed, 0);
    vm.expect(&[]);
    assert_eq!(Arc::strong_count(&notifier), 1);
}

#[test]
fn masking_for_ever_leaves_nothing_behind() {
    let (_, table, mut leases) = exhausted();
    let queue = ArmQueue::new(&table).unwrap();
    let (restless, _) = queued(&queue, &table, 0x40);
    let (other, _) = queued(&queue, &table, 0x41);
    for _ in 0..3 {
        restless.unmask().unwrap();
        drop(queue.run_pending());
        expect_state(&restless, "Relayed");
        restless.mask();
    }
    restless.unmask().unwrap();
    other.unmask().unwrap();
    drop(queue.run_pending());
    // What was left of the first would now stand before the second.
    leases.truncate(leases.len() - 2);
    assert_eq!(queue.run_pending().armed, 2);
}

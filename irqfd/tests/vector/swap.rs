// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Exchanging the notifier: no signal is lost, and a refusal changes nothing.

use std::sync::Arc;

use irq_routing::RoutingTable;
use irqfd::{ArmQueue, Error, IrqFd, Vector};
use notify_core::{EventFd, EventNotifier};

use kvm_test::wait_until;

use super::queue::is_readable;
use super::{expect_state, exported, guilty, internal, message, queued, table};

fn notifier() -> Arc<EventNotifier> {
    Arc::new(EventNotifier::new().unwrap())
}

/// A notifier that is bound elsewhere.
fn bound(table: &RoutingTable) -> (IrqFd, Arc<EventNotifier>) {
    let irq = IrqFd::builder(table.lease_msi(message(0x70)).unwrap());
    let irq = irq.assign().unwrap();
    let notifier = Arc::clone(irq.notifier());
    (irq, notifier)
}

#[track_caller]
fn swap(vector: &Vector, new: &Arc<EventNotifier>) -> Option<Arc<EventNotifier>> {
    let old = vector.replace_notifier(Arc::clone(new)).unwrap();
    assert!(Arc::ptr_eq(&vector.notifier().unwrap(), new));
    old
}

#[test]
fn an_armed_vector_is_armed_with_the_new_one() {
    let (vm, table) = table();
    let (vector, old) = exported(&table, 0x40);
    vector.unmask().unwrap();
    vm.expect_calls([1, 1, 0, 0]);
    let new = notifier();
    assert!(Arc::ptr_eq(&swap(&vector, &new).unwrap(), &old));
    vm.expect_calls([0, 1, 1, 0]);
    expect_state(&vector, "Armed");
    new.notify().unwrap();
    vm.expect(&[0x40]);
    vector.trigger().unwrap();
    vm.expect(&[0x40]);
    old.notify().unwrap();
    vm.expect(&[]);
    assert_eq!(Arc::strong_count(&old), 1);
}

#[test]
fn a_new_notifier_that_is_signalled_already_is_delivered() {
    let (vm, table) = table();
    let (vector, _) = exported(&table, 0x40);
    vector.unmask().unwrap();
    let new = notifier();
    new.notify().unwrap();
    swap(&vector, &new);
    vm.expect(&[0x40]);
}

/// What somebody filled it with is delivered when it is bound; the trigger comes after that.
#[test]
fn a_trigger_that_comes_meanwhile_is_not_lost_in_a_new_notifier_that_is_full() {
    let (vm, table) = table();
    let (vector, _) = exported(&table, 0x40);
    vector.unmask().unwrap();
    let new = notifier();
    let eventfd: &EventFd = (*new).as_ref();
    eventfd.write(u64::MAX - 1).unwrap();
    let (other, machine) = (vector.clone(), Arc::clone(&vm));
    vm.during_bind(move || {
        machine.expect(&[0x40]);
        other.trigger().unwrap();
    });
    swap(&vector, &new);
    vm.expect(&[0x40]);
}

#[test]
fn a_masked_vector_keeps_its_signal() {
    let (vm, table) = table();
    let (vector, old) = exported(&table, 0x40);
    old.notify().unwrap();
    let new = notifier();
    swap(&vector, &new);
    assert!(!old.is_signalled().unwrap() && new.is_signalled().unwrap());
    assert!(vector.is_pending());
    vector.unmask().unwrap();
    vm.expect(&[0x40]);
}

#[test]
fn an_internal_vector_becomes_exported() {
    let (vm, table) = table();
    let vector = internal(&table, 0x40);
    vector.trigger().unwrap();
    let new = notifier();
    assert!(swap(&vector, &new).is_none());
    assert!(new.is_signalled().unwrap());
    vector.unmask().unwrap();
    vm.expect(&[0x40]);

    let vector = internal(&table, 0x41);
    vector.unmask().unwrap();
    assert!(swap(&vector, &notifier()).is_none());
    expect_state(&vector, "Armed");
}

#[test]
fn the_same_notifier_once_more_is_nothing() {
    let (vm, table) = table();
    let (vector, notifier) = exported(&table, 0x40);
    vector.unmask().unwrap();
    vm.expect_calls([1, 1, 0, 0]);
    swap(&vector, &notifier);
    vm.expect_calls([0, 0, 0, 0]);
}

#[test]
fn one_that_is_bound_elsewhere_is_refused_and_all_is_as_it_was() {
    let (vm, table) = table();
    let (vector, old) = exported(&table, 0x40);
    vector.unmask().unwrap();
    let (_irq, taken) = bound(&table);
    let before = (table.routes(), table.leased());
    let rejected = vector.replace_notifier(Arc::clone(&taken)).unwrap_err();
    assert!(matches!(rejected.error, Error::AlreadyBound { .. }));
    assert!(Arc::ptr_eq(&rejected.value, &taken));
    assert_eq!((table.routes(), table.leased()), before);
    assert!(Arc::ptr_eq(&vector.notifier().unwrap(), &old));
    expect_state(&vector, "Armed");
    old.notify().unwrap();
    vector.trigger().unwrap();
    vm.expect(&[0x40]);
}

#[test]
fn a_semaphore_is_refused() {
    let (vm, table) = table();
    let (vector, _) = exported(&table, 0x40);
    let semaphore = EventNotifier::builder().semaphore(true).build().unwrap();
    let rejected = vector.replace_notifier(Arc::new(semaphore)).unwrap_err();
    assert!(matches!(rejected.error, Error::ExportSemaphore));
    vector.unmask().unwrap();
    vector.trigger().unwrap();
    vm.expect(&[0x40]);
}

#[test]
fn if_neither_can_be_bound_it_is_dead_and_keeps_its_signals() {
    use notify_core::sim::CallKind::IrqFdAssign;
    let (vm, table) = table();
    let (vector, old) = exported(&table, 0x40);
    vector.unmask().unwrap();
    vm.sim.fail(IrqFdAssign, 1, libc::ENOMEM);
    vm.sim.fail(IrqFdAssign, 2, libc::ENOMEM);
    let rejected = vector.replace_notifier(notifier()).unwrap_err();
    assert!(matches!(rejected.error, Error::Assign { .. }));
    expect_state(&vector, "Dead(Assign");
    old.notify().unwrap();
    // A notifier that can be bound brings it back to life, with the signal.
    swap(&vector, &notifier());
    expect_state(&vector, "Armed");
    vm.expect(&[0x40]);
}

#[test]
fn if_neither_can_be_bound_for_want_of_memory_the_next_round_tries_again() {
    use notify_core::sim::CallKind::IrqFdAssign;

    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, old) = queued(&queue, &table, 0x40);
    vector.unmask().unwrap();
    queue.run_pending();
    vm.sim.fail(IrqFdAssign, 1, libc::ENOMEM);
    vm.sim.fail(IrqFdAssign, 2, libc::ENOMEM);
    vector.replace_notifier(notifier()).unwrap_err();
    expect_state(&vector, "Dead(Assign");
    wait_until(|| is_readable(&queue));
    old.notify().unwrap();
    assert_eq!(queue.run_pending().armed, 1);
    vm.expect(&[0x40]);
}

#[test]
fn a_dead_vector_tries_the_new_one() {
    let (vm, table) = table();
    let (_irq, taken) = bound(&table);
    let vector = internal(&table, 0x40);
    swap(&vector, &taken);
    assert!(matches!(vector.unmask(), Err(Error::Dead(_))));
    expect_state(&vector, "Dead(AlreadyBound");
    swap(&vector, &notifier());
    expect_state(&vector, "Armed");
    vector.trigger().unwrap();
    vm.expect(&[0x40]);
}

#[test]
fn a_dead_vector_with_a_bad_message_stays_dead_without_harm() {
    let (vm, table) = table();
    let vector = internal(&table, 0x40);
    vector.set_message(guilty(0x40)).unwrap();
    let old = vector.export().unwrap();
    vector.unmask().unwrap_err();
    old.notify().unwrap();
    swap(&vector, &notifier());
    expect_state(&vector, "Dead(Commit");
    vector.set_message(message(0x40)).unwrap();
    vm.expect(&[0x40]);
}

#[test]
fn a_queued_vector_is_armed_with_the_new_one() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, old) = queued(&queue, &table, 0x40);
    vector.unmask().unwrap();
    old.notify().unwrap();
    let new = notifier();
    swap(&vector, &new);
    expect_state(&vector, "Queued");
    assert_eq!(queue.run_pending().armed, 1);
    vm.expect(&[0x40]);
    new.notify().unwrap();
    vm.expect(&[0x40]);
    vm.expect_calls([1, 1, 0, 0]);
}

#[test]
fn during_a_commit_too() {
    let (vm, table) = table();
    let (vector, old) = exported(&table, 0x40);
    let (new, other) = (notifier(), vector.clone());
    let inner = Arc::clone(&new);
    vm.during_commit(move || {
        old.notify().unwrap();
        other.replace_notifier(inner).unwrap();
    });
    vector.unmask().unwrap();
    expect_state(&vector, "Armed");
    vm.expect(&[0x40]);
    new.notify().unwrap();
    vm.expect(&[0x40]);
}

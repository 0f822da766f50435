// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Exported vectors, armed at once.

use std::sync::Arc;

use irq_routing::{MsiMessage, Platform, RoutingTable, Wiring};
use irqfd::{Triggered, Vector, VectorError};

use super::{Machine, expect_state, exported, guilty, internal, message, table};

#[test]
fn the_gsi_is_taken_at_the_first_unmask() {
    let (vm, table) = table();
    let (vector, notifier) = exported(&table, 0x40);
    vector.set_message(message(0x41)).unwrap();
    vm.expect_calls([0, 0, 0, 0]);
    assert_eq!(table.leased(), 0);
    expect_state(&vector, "Masked");

    vector.unmask().unwrap();
    expect_state(&vector, "Armed");
    assert_eq!(table.leased(), 1);
    vm.expect_calls([1, 1, 0, 0]);
    notifier.notify().unwrap();
    vm.expect(&[0x41]);
    // A signal that KVM delivers is not pending, and we send no message for it.
    assert!(!vector.is_pending());
    vm.expect_calls([0, 0, 0, 0]);
}

#[test]
fn mask_takes_the_irqfd_off_and_parks_the_gsi_with_its_route() {
    let (vm, table) = table();
    let (vector, notifier) = exported(&table, 0x40);
    vector.unmask().unwrap();
    vm.expect_calls([1, 1, 0, 0]);
    let routes = table.routes();
    vector.mask();
    expect_state(&vector, "Masked");
    vm.expect_calls([0, 0, 1, 0]);
    assert_eq!((table.routes(), table.leased()), (routes, 0));
    assert_eq!(vector.gsi(), None);

    for _ in 0..3 {
        notifier.notify().unwrap();
    }
    vm.expect(&[]);
    assert!(vector.is_pending());
    vector.unmask().unwrap();
    vm.expect(&[0x40]);
    assert!(!vector.is_pending());
    vm.expect_calls([0, 1, 0, 0]);
}

#[test]
fn trigger_works_masked_and_unmasked() {
    let (vm, table) = table();
    let (vector, notifier) = exported(&table, 0x40);
    assert_eq!(vector.trigger().unwrap(), Triggered::Signalled);
    assert_eq!(vector.trigger().unwrap(), Triggered::Signalled);
    assert!(vector.is_pending());
    assert!(!notifier.is_signalled().unwrap(), "the vector has taken it");
    assert!(vector.is_pending(), "and keeps it");
    // It is merged with later ones.
    notifier.notify().unwrap();
    vector.unmask().unwrap();
    vm.expect(&[0x40]);
    assert!(!vector.is_pending());
    assert_eq!(vector.trigger().unwrap(), Triggered::Signalled);
    vm.expect(&[0x40]);
}

#[test]
fn a_trigger_adds_to_what_the_notifier_has() {
    let (_, table) = table();
    let (vector, notifier) = exported(&table, 0x40);
    notifier.notify().unwrap();
    vector.trigger().unwrap();
    vector.trigger().unwrap();
    assert_eq!(notifier.consume().unwrap().map(u64::from), Some(3));
}

#[test]
fn a_new_message_of_an_armed_vector_takes_one_commit() {
    let (vm, table) = table();
    let (vector, notifier) = exported(&table, 0x40);
    vector.unmask().unwrap();
    vm.expect_calls([1, 1, 0, 0]);
    vector.set_message(message(0x41)).unwrap();
    vm.expect_calls([1, 0, 0, 0]);
    expect_state(&vector, "Armed");
    notifier.notify().unwrap();
    vm.expect(&[0x41]);
    // The same once more has no effect.
    vector.set_message(message(0x41)).unwrap();
    vector.unmask().unwrap();
    vm.expect_calls([0, 0, 0, 0]);
    assert_eq!(table.leased(), 1);
}

#[test]
fn a_kept_trigger_goes_to_the_notifier() {
    let (vm, table) = table();
    let vector = internal(&table, 0x40);
    vector.trigger().unwrap();
    let notifier = vector.export().unwrap();
    assert!(notifier.is_signalled().unwrap() && vector.is_pending());
    assert!(Arc::ptr_eq(&notifier, &vector.export().unwrap()));
    assert!(Arc::ptr_eq(&notifier, &vector.notifier().unwrap()));
    vector.unmask().unwrap();
    vm.expect(&[0x40]);
}

#[test]
fn one_that_is_open_is_armed_when_it_is_exported() {
    let (vm, table) = table();
    let vector = internal(&table, 0x40);
    vector.unmask().unwrap();
    let notifier = vector.export().unwrap();
    expect_state(&vector, "Armed");
    notifier.notify().unwrap();
    vm.expect(&[0x40]);
}

#[test]
fn unexport_gives_everything_back() {
    let (vm, table) = table();
    let (vector, notifier) = exported(&table, 0x40);
    vector.unmask().unwrap();
    vm.expect_calls([1, 1, 0, 0]);
    vector.unexport().unwrap();
    vm.expect_calls([0, 0, 1, 0]);
    expect_state(&vector, "Open");
    assert_eq!(table.leased(), 0);
    assert!(vector.notifier().is_none());
    assert_eq!(Arc::strong_count(&notifier), 1);
    // A peer that has the notifier signals in vain; a trigger goes another way.
    notifier.notify().unwrap();
    vm.expect(&[]);
    assert_eq!(vector.trigger().unwrap(), Triggered::Delivered);
    vm.expect(&[0x40]);
    vector.unexport().unwrap();
    vm.expect_calls([0, 0, 0, 1]);
}

#[test]
fn a_signal_that_the_notifier_has_survives_unexport() {
    let (vm, table) = table();
    let (vector, notifier) = exported(&table, 0x40);
    notifier.notify().unwrap();
    vector.unexport().unwrap();
    assert!(vector.is_masked() && vector.is_pending());
    vm.expect(&[]);
    assert_eq!(vector.trigger().unwrap(), Triggered::Kept);
    vector.unmask().unwrap();
    vm.expect(&[0x40]);

    // Unmasked, and not armed: the route is refused.
    let vector = internal(&table, 0x41);
    vector.set_message(guilty(0x41)).unwrap();
    let notifier = vector.export().unwrap();
    notifier.notify().unwrap();
    vector.unmask().unwrap_err();
    vector.set_message(message(0x42)).unwrap();
    vm.expect(&[0x42]);
    let vector = internal(&table, 0x43);
    vector.set_message(guilty(0x43)).unwrap();
    vector.export().unwrap().notify().unwrap();
    vector.unmask().unwrap_err();
    // It is sent, and refused.
    assert!(matches!(
        vector.unexport(),
        Err(VectorError::MessageRefused { .. })
    ));
    assert_eq!(table.leased(), 1);
}

#[test]
fn an_old_refusal_does_not_stick_to_a_new_message() {
    let (_, table) = table();
    let vector = internal(&table, 0x40);
    vector.set_message(guilty(0x40)).unwrap();
    vector.unmask().unwrap();
    vector.trigger().unwrap_err();
    expect_state(&vector, "Dead(MessageRefused");
    vector.export().unwrap();
    expect_state(&vector, "Dead(Route");
    vector.set_message(message(0x41)).unwrap();
    expect_state(&vector, "Armed");
    vector.unexport().unwrap();
    expect_state(&vector, "Open");
}

#[test]
fn a_machine_without_signal_msi_has_private_vectors() {
    let vm = Arc::new(Machine::default());
    vm.lack_signal_msi();
    let table = RoutingTable::builder(vm.clone())
        .wiring(Wiring::none(Platform::X86))
        .build()
        .unwrap();
    let vector = internal(&table, 0x40);
    assert!(vector.notifier().is_none());
    assert_eq!(vector.trigger().unwrap(), Triggered::Kept);
    vector.unmask().unwrap();
    vm.expect(&[0x40]);
    assert_eq!(vector.trigger().unwrap(), Triggered::Signalled);
    vm.expect(&[0x40]);
    vm.expect_calls([1, 1, 0, 0]);
    vector.export().unwrap().notify().unwrap();
    vm.expect(&[0x40]);
    vm.expect_calls([0, 0, 0, 0]);
    vector.unexport().unwrap();
    expect_state(&vector, "Armed");
    assert!(vector.notifier().is_none());
}

#[test]
fn reset_leaves_it_exported() {
    let (vm, table) = table();
    let (vector, notifier) = exported(&table, 0x40);
    vector.unmask().unwrap();
    vector.mask();
    notifier.notify().unwrap();
    vector.reset();
    assert!(!vector.is_pending());
    assert!(!notifier.is_signalled().unwrap());
    assert_eq!(vector.message(), MsiMessage::default());
    assert!(Arc::ptr_eq(&vector.notifier().unwrap(), &notifier));
    vector.set_message(message(0x41)).unwrap();
    vector.unmask().unwrap();
    vector.reset();
    expect_state(&vector, "Masked");
    vm.expect(&[]);
}

#[test]
fn clear_pending_forgets_a_signal_of_an_unarmed_vector() {
    let (vm, table) = table();
    let (vector, notifier) = exported(&table, 0x40);
    vector.trigger().unwrap();
    assert!(vector.is_pending());
    vector.clear_pending();
    assert!(!notifier.is_signalled().unwrap());
    vector.trigger().unwrap();
    vector.unmask().unwrap();
    vm.expect(&[0x40]);
}

#[test]
fn a_queue_is_of_the_table_of_its_vectors() {
    let (_, other) = table();
    let (_, table) = table();
    let queue = irqfd::ArmQueue::new(&other).unwrap();
    let refused = Vector::builder(&table).queue(&queue).build();
    assert!(matches!(refused, Err(VectorError::OtherTable)));
}

#[test]
fn dropping_the_last_handle_disarms() {
    let (vm, table) = table();
    let (vector, notifier) = exported(&table, 0x40);
    vector.unmask().unwrap();
    vm.expect_calls([1, 1, 0, 0]);
    let clone = vector.clone();
    drop(vector);
    vm.expect_calls([0, 0, 0, 0]);
    drop(clone);
    vm.expect_calls([0, 0, 1, 0]);
    assert_eq!(table.leased(), 0);
    assert_eq!(Arc::strong_count(&notifier), 1);
    notifier.notify().unwrap();
    vm.expect(&[]);
}

/// The kernel takes new signals, but may leave earlier ones (a semaphore's rest, for instance).
#[test]
fn what_an_armed_notifier_holds_is_not_pending() {
    let table = RoutingTable::new(Arc::new(kvm_test::Recorder::default())).unwrap();
    let (vector, notifier) = exported(&table, 0x40);
    vector.unmask().unwrap();
    notifier.notify().unwrap();
    assert!(!vector.is_pending());
    vector.clear_pending();
    assert!(notifier.is_signalled().unwrap(), "it is the kernel's");
    vector.mask();
    assert!(vector.is_pending());
}

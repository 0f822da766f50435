// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Private vectors, whose eventfd is never exported; and vectors whose notifier was replaced.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use irq_routing::{Error as RoutingError, Platform, RoutingTable, Wiring};
use irqfd::{ArmQueue, ResumeBatch, Triggered, Vector, VectorError};
use kvm_test::Recorder;
use notify_core::EventNotifier;
use notify_sim::CallKind;

use super::{Machine, expect_state, exported, guilty, internal, message, name, table};

/// A masked vector with a message.
fn private(table: &RoutingTable, data: u32) -> Vector {
    let vector = Vector::builder(table).private_irqfd(true).build().unwrap();
    vector.set_message(message(data)).unwrap();
    vector
}

fn new_notifier() -> Arc<EventNotifier> {
    Arc::new(EventNotifier::new().unwrap())
}

#[track_caller]
fn trigger(vector: &Vector, expected: Triggered) {
    assert_eq!(vector.trigger().unwrap(), expected);
}

#[test]
fn it_is_armed_at_its_unmask_and_keeps_triggers_until_then() {
    let (vm, table) = table();
    let vector = private(&table, 0x40);
    assert!(vector.notifier().is_none());
    trigger(&vector, Triggered::Kept);
    trigger(&vector, Triggered::Kept);
    assert!(vector.is_pending());
    vm.expect_calls([0, 0, 0, 0]);
    vector.unmask().unwrap();
    assert!(!vector.is_pending());
    vm.expect(&[0x40]);
    vm.expect_calls([1, 1, 0, 0]);
    trigger(&vector, Triggered::Signalled);
    vm.expect(&[0x40]);
    vector.mask();
    trigger(&vector, Triggered::Kept);
    vector.clear_pending();
    vector.unmask().unwrap();
    vm.expect(&[]);
    vm.expect_calls([0, 1, 1, 0]);
}

#[test]
fn another_message_costs_it_one_commit() {
    let (vm, table) = table();
    let vector = private(&table, 0x40);
    vector.unmask().unwrap();
    vm.expect_calls([1, 1, 0, 0]);
    vector.set_message(message(0x41)).unwrap();
    vm.expect_calls([1, 0, 0, 0]);
    trigger(&vector, Triggered::Signalled);
    vm.expect(&[0x41]);
}

#[test]
fn with_a_queue_triggers_are_kept_until_its_turn() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let builder = Vector::builder(&table).private_irqfd(true).queue(&queue);
    let vector = builder.build().unwrap();
    vector.set_message(message(0x40)).unwrap();
    vector.unmask().unwrap();
    expect_state(&vector, "Queued");
    trigger(&vector, Triggered::Kept);
    vm.expect_calls([0, 0, 0, 0]);
    assert_eq!(queue.run_pending().armed, 1);
    vm.expect(&[0x40]);
    trigger(&vector, Triggered::Signalled);
    vm.expect(&[0x40]);
}

#[test]
fn a_dead_one_keeps_triggers_for_a_better_message() {
    let (vm, table) = table();
    let vector = private(&table, 0);
    vector.set_message(guilty(0x40)).unwrap();
    let error = vector.unmask().unwrap_err();
    assert!(matches!(error, VectorError::Route { .. }), "{error}");
    expect_state(&vector, "Dead(Route");
    trigger(&vector, Triggered::Dead);
    assert!(vector.is_pending());
    vector.set_message(message(0x41)).unwrap();
    vm.expect(&[0x41]);
    // And a vector that was armed.
    vector.set_message(guilty(0x42)).unwrap_err();
    trigger(&vector, Triggered::Dead);
    vector.set_message(message(0x43)).unwrap();
    vm.expect(&[0x43]);
}

#[test]
fn an_irqfd_that_is_refused_leaves_triggers_kept() {
    let (vm, table) = table();
    let vector = private(&table, 0x40);
    vm.sim.fail(CallKind::IrqFdAssign, 1, libc::ENOMEM);
    vector.unmask().unwrap_err();
    trigger(&vector, Triggered::Dead);
    vector.mask();
    trigger(&vector, Triggered::Kept);
    vector.unmask().unwrap();
    vm.expect(&[0x40]);
}

#[test]
fn an_export_hands_its_eventfd_out_and_leaves_it_armed() {
    let (vm, table) = table();
    let vector = private(&table, 0x40);
    vector.unmask().unwrap();
    vm.expect_calls([1, 1, 0, 0]);
    let notifier = vector.export().unwrap();
    assert!(Arc::ptr_eq(&notifier, &vector.export().unwrap()));
    vm.expect_calls([0, 0, 0, 0]);
    notifier.notify().unwrap();
    vm.expect(&[0x40]);
    // A peer has that notifier now, so the vector takes another.
    vector.unexport().unwrap();
    assert!(vector.notifier().is_none());
    expect_state(&vector, "Armed");
    notifier.notify().unwrap();
    vm.expect(&[]);
    trigger(&vector, Triggered::Signalled);
    vm.expect(&[0x40]);
}

#[test]
fn what_it_has_kept_goes_along_with_an_export_and_back() {
    let (vm, table) = table();
    let vector = private(&table, 0x40);
    trigger(&vector, Triggered::Kept);
    let notifier = vector.export().unwrap();
    assert!(notifier.is_signalled().unwrap());
    vector.unexport().unwrap();
    assert!(!notifier.is_signalled().unwrap());
    assert!(vector.is_pending());
    vector.unmask().unwrap();
    vm.expect(&[0x40]);
}

/// Triggers that come during the exchange of notifiers go to the new one.
#[test]
fn a_notifier_takes_the_place_of_its_own() {
    let (vm, table) = table();
    let vector = private(&table, 0x40);
    vector.unmask().unwrap();
    let new = new_notifier();
    let device = vector.handle().clone();
    vm.during_bind(move || assert_eq!(device.trigger().unwrap(), Triggered::Kept));
    vm.calls();
    vm.sim.reset_calls();
    assert!(vector.replace_notifier(Arc::clone(&new)).unwrap().is_none());
    vm.expect_calls([0, 1, 1, 0]);
    vm.expect(&[0x40]);
    new.notify().unwrap();
    vm.expect(&[0x40]);
    vector.unexport().unwrap();

    // A notifier that cannot be bound changes nothing.
    let device = vector.handle().clone();
    vm.during_bind(move || assert_eq!(device.trigger().unwrap(), Triggered::Kept));
    vm.sim.fail(CallKind::IrqFdAssign, 1, libc::ENOMEM);
    vector.replace_notifier(new).unwrap_err();
    assert!(vector.notifier().is_none());
    vm.expect(&[0x40]);
    trigger(&vector, Triggered::Signalled);
    vm.expect(&[0x40]);
}

/// The eventfd is not bound while the translation blocks the message.
#[test]
fn what_comes_while_its_message_is_blocked_is_kept_over_a_mask() {
    let (block, vm, table) = blocking();
    let vector = private(&table, 0x40);
    vector.unmask().unwrap();
    expect_state(&vector, "Blocked");
    trigger(&vector, Triggered::Signalled);
    vm.expect(&[]);
    vector.mask();
    assert!(vector.is_pending());
    vector.clear_pending();
    vector.unmask().unwrap();
    trigger(&vector, Triggered::Signalled);
    vector.pause();
    assert!(vector.is_pending());
    block.store(false, Ordering::SeqCst);
    table.retranslate().unwrap();
    vm.expect(&[]);
    vector.resume().unwrap();
    vm.expect(&[0x40]);
    trigger(&vector, Triggered::Signalled);
    vm.expect(&[0x40]);
}

#[test]
fn without_a_notifier_triggers_are_kept() {
    let (vm, table) = table();
    for vector in [internal(&table, 0x40), private(&table, 0x40)] {
        assert!(vector.take_notifier().is_none(), "none was handed out");
        let notifier = vector.export().unwrap();
        vector.unmask().unwrap();
        expect_state(&vector, "Armed");
        vm.sim.reset_calls();
        assert!(Arc::ptr_eq(&vector.take_notifier().unwrap(), &notifier));
        vm.expect_calls([0, 0, 1, 0]);
        expect_state(&vector, "NoNotifier");
        assert_eq!(vector.gsi(), None);
        notifier.notify().unwrap();
        trigger(&vector, Triggered::Kept);
        vm.expect(&[]);
        // Masked and unmasked without one.
        vector.mask();
        expect_state(&vector, "Masked");
        vector.set_message(message(0x41)).unwrap();
        vector.unmask().unwrap();
        vm.expect_calls([0, 0, 0, 0]);

        notifier.consume().unwrap();
        vector.replace_notifier(Arc::clone(&notifier)).unwrap();
        vm.expect(&[0x41]);
        notifier.notify().unwrap();
        vm.expect(&[0x41]);

        vector.mask();
        notifier.notify().unwrap();
        vector.take_notifier().unwrap();
        assert!(vector.is_pending(), "what it had");
        vector.unmask().unwrap();
        vector.unexport().unwrap();
        vm.expect(&[0x41]);
        vector.trigger().unwrap();
        vm.expect(&[0x41]);
    }
}

#[test]
fn one_without_a_notifier_has_left_its_queue() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let builder = Vector::builder(&table).private_irqfd(true).queue(&queue);
    let vector = builder.build().unwrap();
    vector.export().unwrap();
    vector.unmask().unwrap();
    assert_eq!(queue.waiting(), 1);
    vector.take_notifier().unwrap();
    assert!(queue.waiting() == 0);
    assert_eq!(queue.run_pending().armed, 0);
    vm.expect_calls([0, 0, 0, 0]);
}

#[test]
fn a_vector_takes_the_gsi_that_it_is_given() {
    let (vm, routing) = table();
    let vector = private(&routing, 0x40);
    let given = routing.lease_exact(77).unwrap();
    vector.set_lease(given).unwrap();
    assert_eq!(vector.gsi(), None, "a masked one leaves it to the table");
    vector.unmask().unwrap();
    assert_eq!(vector.gsi().map(|gsi| gsi.number()), Some(77));
    trigger(&vector, Triggered::Signalled);
    vm.expect(&[0x40]);

    let another = routing.lease_exact(78).unwrap();
    let rejected = vector.set_lease(another).unwrap_err();
    assert!(matches!(rejected.error, VectorError::InUse));
    let another = rejected.value;
    vector.pause();
    vector.set_lease(another).unwrap();
    assert_eq!(vector.gsi().map(|gsi| gsi.number()), Some(78));
    assert_eq!(routing.leased(), 1, "the first was given back");
    // About to be armed, when a batch runs.
    let mut batch = ResumeBatch::default();
    vector.resume_in(&mut batch);
    let late = vector
        .set_lease(routing.lease_exact(79).unwrap())
        .unwrap_err();
    assert!(matches!(late.error, VectorError::InUse));
    assert!(batch.run().is_empty());
    assert_eq!(vector.gsi().map(|gsi| gsi.number()), Some(78));
    trigger(&vector, Triggered::Signalled);
    vm.expect(&[0x40]);

    // An internal vector does not use it before it is exported.
    let internal = internal(&routing, 0x50);
    internal.unmask().unwrap();
    internal.pause();
    drop(late);
    internal
        .set_lease(routing.lease_exact(80).unwrap())
        .unwrap();
    assert_eq!((internal.gsi(), routing.leased()), (None, 1));
    internal.resume().unwrap();
    internal.export().unwrap();
    assert_eq!(internal.gsi().map(|gsi| gsi.number()), Some(80));

    let foreign = RoutingTable::new(Arc::new(Recorder::default())).unwrap();
    let rejected = vector.set_lease(foreign.lease().unwrap()).unwrap_err();
    assert!(matches!(rejected.error, VectorError::OtherTable));
}

/// The name of a device is that of its leases, so an exhausted table shows which devices hold them.
#[test]
fn names_reach_the_table() {
    let (_, table) = table();
    let builder = Vector::builder(&table).private_irqfd(true).name("disk");
    let vector = builder.build().unwrap();
    vector.set_message(message(0x40)).unwrap();
    let given = table.lease().unwrap().named("something else");
    vector.set_lease(given).unwrap();
    vector.unmask().unwrap();
    let builder = Vector::builder(&table).private_irqfd(true).name("disk");
    let another = builder.build().unwrap();
    another.unmask().unwrap();
    let all = usize::MAX;
    let leases: Vec<_> = (0..all).map_while(|_| table.lease().ok()).collect();
    let error = table.lease().unwrap_err();
    let RoutingError::Exhausted { holders, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(&*holders[0].name, "disk");
    assert_eq!(holders[0].leases, 2);
    drop(leases);
}

/// A vector that is armed on a GSI in quarantine, because an exchange of its notifier could not be
/// undone. Its next message needs another GSI.
fn on_a_gsi_in_quarantine() -> (Arc<Machine>, RoutingTable, Vector) {
    let (vm, table) = table();
    let vector = private(&table, 0x40);
    vector.unmask().unwrap();
    for nth in 1..=2 {
        vm.sim.fail(CallKind::IrqFdDeassign, nth, libc::EINVAL);
    }
    vector.replace_notifier(new_notifier()).unwrap_err();
    vm.sim.clear_faults();
    expect_state(&vector, "Armed");
    (vm, table, vector)
}

#[test]
fn its_eventfd_is_not_written_while_its_gsi_is_given_up() {
    let (vm, _table, vector) = on_a_gsi_in_quarantine();
    let device = vector.handle().clone();
    vm.during_commit(move || assert_eq!(device.trigger().unwrap(), Triggered::Kept));
    vector.set_message(message(0x41)).unwrap();
    vm.expect(&[0x41]);
}

#[test]
fn a_trigger_while_its_gsi_is_given_up_is_kept_and_forgotten_by_a_reset() {
    let (vm, _table, vector) = on_a_gsi_in_quarantine();
    let device = vector.handle().clone();
    let vector = Arc::new(vector);
    let pauses = Arc::clone(&vector);
    vm.during_commit(move || {
        device.trigger().unwrap();
        pauses.pause();
    });
    vector.set_message(message(0x41)).unwrap();
    vm.expect(&[]);
    expect_state(&vector, "Paused");
    let pending = vector.is_pending();
    vector.reset();
    vector.set_message(message(0x42)).unwrap();
    vector.unmask().unwrap();
    vector.resume().unwrap();
    let after_reset = vm.sim.deliver().len();
    assert_eq!((pending, after_reset), (true, 0));
}

fn blocking() -> (Arc<AtomicBool>, Arc<Machine>, RoutingTable) {
    let block = Arc::new(AtomicBool::new(true));
    let blocks = Arc::clone(&block);
    let vm = Arc::new(Machine::default());
    let table = RoutingTable::builder(vm.clone())
        .wiring(Wiring::none(Platform::X86))
        .translate(move |message| (!blocks.load(Ordering::SeqCst)).then_some(message))
        .build()
        .unwrap();
    (block, vm, table)
}

#[test]
fn what_a_blocked_vector_has_is_pending_and_can_be_cleared() {
    for is_private in [false, true] {
        let (block, vm, table) = blocking();
        let vector = if is_private {
            private(&table, 0x40)
        } else {
            exported(&table, 0x40).0
        };
        vector.unmask().unwrap();
        expect_state(&vector, "Blocked");
        vector.trigger().unwrap();
        let pending = vector.is_pending();
        vector.clear_pending();
        block.store(false, Ordering::SeqCst);
        table.retranslate().unwrap();
        let delivered = vm.sim.deliver().len();
        assert_eq!((pending, delivered), (true, 0), "private: {is_private}");
    }
}

/// Each ioctl of each operation fails once. Afterwards the vector works as before.
#[test]
fn each_ioctl_of_a_private_vector_fails_once() {
    type Operation = fn(&Vector, &ArmQueue);
    let operations: [Operation; 8] = [
        |vector, _| vector.mask(),
        |vector, _| {
            vector.pause();
            let _ = vector.resume();
        },
        |vector, queue| {
            let _ = vector.set_message(message(0x60));
            drop(queue.run_pending());
        },
        |vector, _| {
            let was = vector.notifier();
            match vector.replace_notifier(new_notifier()) {
                Ok(_) => assert!(vector.notifier().is_some()),
                Err(_) => {
                    assert_eq!(vector.notifier().is_some(), was.is_some());
                    expect_state(vector, "Armed");
                    vector.trigger().unwrap();
                }
            }
        },
        |vector, _| {
            vector.export().unwrap();
            let _ = vector.unexport();
        },
        |vector, _| {
            vector.export().unwrap();
            let taken = vector.take_notifier().unwrap();
            let _ = vector.replace_notifier(taken);
        },
        |vector, queue| {
            vector.pause();
            let mut batch = ResumeBatch::default();
            vector.resume_in(&mut batch);
            drop(batch.run());
            drop(queue.run_pending());
        },
        |vector, _| vector.reset(),
    ];
    let kinds = [
        CallKind::SetGsiRouting,
        CallKind::IrqFdAssign,
        CallKind::IrqFdDeassign,
    ];
    for (number, operation) in operations.into_iter().enumerate() {
        for has_queue in [false, true] {
            for kind in kinds {
                for nth in 1..=3 {
                    for errno in [libc::ENOMEM, libc::EINVAL] {
                        let context = format!("{number} {has_queue} {kind:?} {nth} {errno}");
                        let (vm, table) = table();
                        let queue = ArmQueue::new(&table).unwrap();
                        let builder = Vector::builder(&table).private_irqfd(true);
                        let vector = match has_queue {
                            true => builder.queue(&queue).build().unwrap(),
                            false => builder.build().unwrap(),
                        };
                        vector.set_message(message(0x40)).unwrap();
                        vector.unmask().unwrap();
                        drop(queue.run_pending());
                        vm.sim.fail(kind, nth, errno);
                        operation(&vector, &queue);
                        vm.sim.clear_faults();
                        let before = vm.sim.deliver().len();
                        assert!(before <= 1, "{context}");
                        vector.mask();
                        vector.trigger().unwrap();
                        assert_eq!(vm.sim.deliver().len(), 0, "{context}");
                        assert!(vector.is_pending(), "{context}");
                        vector.set_message(message(0x70)).unwrap();
                        let _ = vector.unmask();
                        drop(queue.run_pending());
                        let state = name(&vector.state());
                        assert_eq!(state, "Armed", "{context}");
                        assert_eq!(vm.sim.deliver().len(), 1, "{context}");
                        let told = vector.trigger().unwrap();
                        assert_eq!(told, Triggered::Signalled, "{context}");
                        assert_eq!(vm.sim.deliver().len(), 1, "{context}");
                        assert_eq!(table.leased(), 1, "{context}");
                        assert!(queue.waiting() == 0, "{context}");
                    }
                }
            }
        }
    }
}

/// The peer's notifier gets the signals that waited in the vector's own.
#[test]
fn what_a_blocked_vector_has_goes_to_the_notifier_that_it_is_given() {
    let (block, vm, table) = blocking();
    let vector = private(&table, 0x40);
    vector.unmask().unwrap();
    expect_state(&vector, "Blocked");
    trigger(&vector, Triggered::Signalled);
    let new = new_notifier();
    vector.replace_notifier(Arc::clone(&new)).unwrap();
    assert!(new.is_signalled().unwrap());
    block.store(false, Ordering::SeqCst);
    table.retranslate().unwrap();
    vm.expect(&[0x40]);
}

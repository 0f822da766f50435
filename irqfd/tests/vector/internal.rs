// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Vectors that the VMM's own code triggers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use irq_routing::MsiMessage;
use irqfd::{Triggered, Vector};

use super::{expect_state, guilty, internal, message, table};

#[test]
fn it_needs_no_gsi_and_only_triggers_make_ioctls() {
    let (vm, table) = table();
    let vector = internal(&table, 0x40);
    vector.unmask().unwrap();
    vector.set_message(message(0x41)).unwrap();
    vector.mask();
    vector.unmask().unwrap();
    vm.expect_calls([0, 0, 0, 0]);
    assert_eq!(table.leased(), 0);

    assert_eq!(vector.trigger().unwrap(), Triggered::Delivered);
    vm.expect(&[0x41]);
    vm.expect_calls([0, 0, 0, 1]);
}

#[test]
fn it_starts_masked_and_without_a_message() {
    let (vm, table) = table();
    let vector = Vector::builder(&table).build().unwrap();
    assert!(vector.is_masked());
    expect_state(&vector, "Masked");
    assert_eq!(vector.message(), MsiMessage::default());
    assert!(vector.notifier().is_none());
    assert!(!vector.is_pending());
    vector.mask();
    vm.expect_calls([0, 0, 0, 0]);
}

#[test]
fn triggers_while_masked_are_delivered_once() {
    let (vm, table) = table();
    let vector = internal(&table, 0x40);
    for _ in 0..3 {
        assert_eq!(vector.trigger().unwrap(), Triggered::Kept);
    }
    assert!(vector.is_pending());
    vm.expect_calls([0, 0, 0, 0]);
    vector.unmask().unwrap();
    vm.expect(&[0x40]);
    assert!(!vector.is_pending());
    expect_state(&vector, "Open");

    vector.unmask().unwrap();
    vector.mask();
    vector.unmask().unwrap();
    vm.expect(&[]);
}

#[test]
fn a_message_set_while_masked_is_that_of_the_kept_trigger() {
    let (vm, table) = table();
    let vector = internal(&table, 0x40);
    vector.trigger().unwrap();
    vector.set_message(message(0x41)).unwrap();
    assert_eq!(vector.message(), message(0x41));
    vector.unmask().unwrap();
    vm.expect(&[0x41]);
}

#[test]
fn a_device_id_goes_with_the_message() {
    let (_, table) = table();
    let vector = Vector::builder(&table).build().unwrap();
    for devid in [None, Some(0), Some(7), Some(u32::MAX)] {
        let mut new = message(0x40);
        new.devid = devid;
        vector.set_message(new).unwrap();
        assert_eq!(vector.message(), new);
    }
}

#[test]
fn a_trigger_during_a_change_of_the_message_goes_to_the_new_one() {
    let (vm, table) = table();
    let vector = internal(&table, 0x40);
    vector.unmask().unwrap();
    // In the middle of an injection another thread changes the message: it must wait, and a trigger
    // that comes while it waits is kept for the new message.
    let vector = Arc::new(vector);
    let (changer, trigger) = (Arc::clone(&vector), vector.handle().clone());
    let changed = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&changed);
    let (tell, told) = std::sync::mpsc::channel();
    vm.during_signal(move || {
        let handle = thread::spawn(move || {
            changer.set_message(message(0x41)).unwrap();
            seen.store(true, Ordering::SeqCst);
        });
        // Once the gate is closed, triggers are kept.
        for _ in 0..1000 {
            if trigger.trigger().unwrap() == Triggered::Kept {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(5));
        assert!(!changed.load(Ordering::SeqCst), "something is in flight");
        tell.send(handle).unwrap();
    });
    vector.trigger().unwrap();
    told.recv().unwrap().join().unwrap();
    let injected = vm.sim.deliver();
    let last = injected.last().map(|one| one.interrupt);
    assert!(format!("{last:?}").contains("data: 0x41"), "{last:?}");
}

#[test]
fn mask_waits_for_what_is_in_flight() {
    let (vm, table) = table();
    let vector = internal(&table, 0x40);
    vector.unmask().unwrap();
    let vector = Arc::new(vector);
    let masker = Arc::clone(&vector);
    let masked = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&masked);
    let (tell, told) = std::sync::mpsc::channel();
    vm.during_signal(move || {
        let handle = thread::spawn(move || {
            masker.mask();
            seen.store(true, Ordering::SeqCst);
        });
        // Long enough for it to give up spinning and sleep.
        thread::sleep(Duration::from_millis(20));
        assert!(!masked.load(Ordering::SeqCst), "something is in flight");
        tell.send(handle).unwrap();
    });
    vector.trigger().unwrap();
    told.recv().unwrap().join().unwrap();
    assert_eq!(vector.trigger().unwrap(), Triggered::Kept);
}

#[test]
fn a_refused_message_makes_it_dead_until_it_has_another() {
    let (vm, table) = table();
    let (bad, good) = (internal(&table, 0x40), internal(&table, 0x41));
    bad.set_message(guilty(0x40)).unwrap();
    bad.unmask().unwrap();
    good.unmask().unwrap();
    expect_state(&bad, "Open");
    let error = bad.trigger().unwrap_err();
    assert!(
        matches!(error, irqfd::VectorError::MessageRefused { message, .. }
            if message == guilty(0x40))
    );
    expect_state(&bad, "Dead(MessageRefused");
    assert_eq!(good.trigger().unwrap(), Triggered::Delivered);
    expect_state(&good, "Open");
    vm.expect(&[0x41]);

    bad.set_message(message(0x42)).unwrap();
    expect_state(&bad, "Open");
    bad.trigger().unwrap();
    vm.expect(&[0x42]);
}

#[test]
fn a_refused_kept_trigger_is_told_by_unmask() {
    let (vm, table) = table();
    let vector = internal(&table, 0x40);
    vector.set_message(guilty(0x40)).unwrap();
    vector.trigger().unwrap();
    assert!(matches!(
        vector.unmask(),
        Err(irqfd::VectorError::MessageRefused { .. })
    ));
    expect_state(&vector, "Dead(MessageRefused");
    assert!(!vector.is_masked());
    assert!(!vector.is_pending());

    // A masked vector is not dead, and unmasking tries again.
    vector.mask();
    expect_state(&vector, "Masked");
    vector.unmask().unwrap();
    expect_state(&vector, "Open");
    vm.expect(&[]);
}

#[test]
fn a_refusal_that_has_passed_is_forgotten() {
    let (vm, table) = table();
    let vector = internal(&table, 0x40);
    vector.unmask().unwrap();
    vm.sim.fail(notify_sim::CallKind::SignalMsi, 1, libc::EIO);
    vector.trigger().unwrap_err();
    expect_state(&vector, "Dead(MessageRefused");
    vector.trigger().unwrap();
    expect_state(&vector, "Open");

    vm.sim.fail(notify_sim::CallKind::SignalMsi, 1, libc::EIO);
    vector.trigger().unwrap_err();
    vector.set_message(message(0x40)).unwrap();
    expect_state(&vector, "Open");
}

#[test]
fn a_translation_applies_and_may_block() {
    let (vm, _) = table();
    let table = irq_routing::RoutingTable::builder(vm.clone())
        .translate(|message| {
            let data = message.data + 1;
            (message.data != 0x50).then_some(MsiMessage { data, ..message })
        })
        .build()
        .unwrap();
    let vector = internal(&table, 0x40);
    vector.unmask().unwrap();
    assert_eq!(vector.trigger().unwrap(), Triggered::Delivered);
    vm.expect(&[0x41]);
    vector.set_message(message(0x50)).unwrap();
    assert_eq!(vector.trigger().unwrap(), Triggered::Blocked);
    vm.expect_calls([0, 0, 0, 1]);
    expect_state(&vector, "Open");
}

#[test]
fn a_message_that_nobody_takes_is_blocked() {
    let (vm, table) = table();
    vm.sim.disable_lapic(0);
    let vector = internal(&table, 0x40);
    vector.unmask().unwrap();
    assert_eq!(vector.trigger().unwrap(), Triggered::Blocked);
    expect_state(&vector, "Open");
}

#[test]
fn pending_is_restored_cleared_and_reset() {
    let (vm, table) = table();
    let vector = internal(&table, 0x40);
    vector.trigger().unwrap();
    assert!(vector.is_pending());
    vector.clear_pending();
    assert!(!vector.is_pending());
    vector.trigger().unwrap();
    vector.unmask().unwrap();
    vm.expect(&[0x40]);

    vector.mask();
    vector.trigger().unwrap();
    vector.unmask().unwrap();
    vm.expect(&[0x40]);
    vector.reset();
    assert!(vector.is_masked());
    assert_eq!(vector.message(), MsiMessage::default());
    vector.trigger().unwrap();
    vector.reset();
    assert!(!vector.is_pending());
    vm.expect(&[]);
}

#[test]
fn handles_of_one_vector_are_equal() {
    let (_, table) = table();
    let (one, other) = (internal(&table, 0x40), internal(&table, 0x40));
    assert_eq!(*one, one.clone());
    assert_ne!(one, other);
    let text = format!("{one:?}");
    assert!(
        text.contains("Masked") && text.contains("pending: false"),
        "{text}"
    );
}

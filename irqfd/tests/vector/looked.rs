// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Signals that a look has taken from a notifier, and notifiers that are declared private.

use std::io::Write;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use irq_routing::{Platform, RoutingTable, Wiring};
use irqfd::{IrqFd, Vector};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use notify_core::EventNotifier;
use notify_sim::CallKind;

use super::{Machine, expect_state, exported, message, table};

/// Acts as a hostile peer: the counter is full, and a write blocks.
fn fill(notifier: &EventNotifier) {
    let file = notifier.as_fd().try_clone_to_owned().unwrap();
    let mut file = std::fs::File::from(file);
    file.write_all(&(u64::MAX - 1).to_ne_bytes()).unwrap();
    fcntl(notifier, FcntlArg::F_SETFL(OFlag::O_RDWR)).unwrap();
}

/// A notifier that the caller has declared private is shared as soon as it is exported.
#[test]
fn an_export_ends_the_declaration_of_a_notifier_that_was_given() {
    let (_, table) = table();
    let (vector, _) = exported(&table, 0x40);
    let given = EventNotifier::builder().private(true).build().unwrap();
    let given = Arc::new(given);
    vector.replace_notifier(Arc::clone(&given)).unwrap();
    assert!(given.is_private());
    assert!(Arc::ptr_eq(&vector.export().unwrap(), &given));
    assert!(!given.is_private());
}

/// The same for the own notifier of a private vector.
#[test]
fn an_export_ends_the_declaration_of_a_vectors_own_notifier() {
    let (_, table) = table();
    let builder = Vector::builder(&table).private_irqfd(true);
    let vector = builder.build().unwrap();
    assert!(!vector.export().unwrap().is_private());
}

/// A peer fills the counter just when the irqfd was bound, and makes it blocking: the kept signal
/// is delivered, and the unmask returns.
#[test]
fn a_peer_that_fills_the_notifier_does_not_hold_up_an_unmask() {
    let (vm, table) = table();
    let (vector, notifier) = exported(&table, 0x40);
    notifier.notify().unwrap();
    assert!(vector.is_pending());
    let peer = Arc::clone(&notifier);
    vm.during_bind(move || fill(&peer));
    vector.unmask().unwrap();
    vm.expect(&[0x40]);
    assert!(!vector.is_pending());
}

/// While the message is blocked, a kept signal causes no write.
#[test]
fn a_kept_signal_waits_until_the_message_is_let_through() {
    let block = Arc::new(AtomicBool::new(true));
    let blocks = Arc::clone(&block);
    let vm = Arc::new(Machine::default());
    let table = RoutingTable::builder(vm.clone())
        .wiring(Wiring::none(Platform::X86))
        .translate(move |message| (!blocks.load(Ordering::SeqCst)).then_some(message))
        .build()
        .unwrap();
    let (vector, notifier) = exported(&table, 0x40);
    notifier.notify().unwrap();
    assert!(vector.is_pending());
    vector.unmask().unwrap();
    expect_state(&vector, "Blocked");
    assert!(!notifier.is_signalled().unwrap() && vector.is_pending());
    block.store(false, Ordering::SeqCst);
    table.retranslate().unwrap();
    vm.expect(&[0x40]);
    assert!(!vector.is_pending());
}

/// KVM takes the signals of an armed vector, and a look leaves them there: also if messages may be
/// blocked.
#[test]
fn a_look_takes_nothing_from_a_notifier_that_is_bound() {
    let vm = Arc::new(Machine::default());
    let table = RoutingTable::builder(vm.clone())
        .wiring(Wiring::none(Platform::X86))
        .translate(Some)
        .build()
        .unwrap();
    let (vector, notifier) = exported(&table, 0x40);
    vector.unmask().unwrap();
    notifier.notify().unwrap();
    assert!(!vector.is_pending());
    vm.expect(&[0x40]);
}

/// As for a vector: the assignment of an irqfd returns, and the earlier signal is delivered.
#[test]
fn a_peer_that_fills_the_notifier_does_not_hold_up_an_assignment() {
    let (vm, table) = table();
    let notifier = Arc::new(EventNotifier::builder().initial(1).build().unwrap());
    let peer = Arc::clone(&notifier);
    vm.during_bind(move || fill(&peer));
    let irq = IrqFd::builder(table.lease_msi(message(0x40)).unwrap());
    let irq = irq.notifier(notifier).assign().unwrap();
    vm.expect(&[0x40]);
    drop(irq);
}

/// The count of a private notifier stays, also if the assignment fails.
#[test]
fn a_private_notifier_is_not_emptied_for_its_assignment() {
    let (vm, table) = table();
    let notifier = EventNotifier::builder().initial(3).private(true);
    let notifier = Arc::new(notifier.build().unwrap());
    vm.sim.fail(CallKind::IrqFdAssign, 1, libc::ENOMEM);
    let irq = IrqFd::builder(table.lease_msi(message(0x40)).unwrap());
    irq.notifier(Arc::clone(&notifier)).assign().unwrap_err();
    assert_eq!(notifier.consume().unwrap().map(u64::from), Some(3));
}

#[test]
fn debug_text_takes_no_signal() {
    let (_vm, table) = table();
    let (vector, notifier) = exported(&table, 0x40);
    notifier.notify().unwrap();
    let text = format!("{vector:?}");
    assert!(text.contains("pending: false"), "{text}");
    assert_eq!(notifier.consume().unwrap().map(u64::from), Some(1));
}

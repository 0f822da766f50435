// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Signals that a look has taken from a notifier, and the declaration of private notifiers.

use std::io::Write;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use irq_routing::{Platform, RoutingTable, Wiring};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use notify_core::EventNotifier;

use super::{Machine, expect_state, exported, table};

/// A notifier that the caller has declared private is shared as soon as it is handed out.
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

/// So is the own one of a private vector.
#[test]
fn an_export_ends_the_declaration_of_a_vectors_own_notifier() {
    let (_, table) = table();
    let builder = irqfd::Vector::builder(&table).private_irqfd(true);
    let vector = builder.build().unwrap();
    assert!(!vector.export().unwrap().is_private());
}

/// A peer fills the counter just when the irqfd was bound, and makes it blocking: the signal that was
/// kept is delivered, and the unmask returns.
#[test]
fn a_peer_that_fills_the_notifier_does_not_hold_up_an_unmask() {
    let (vm, table) = table();
    let (vector, notifier) = exported(&table, 0x40);
    notifier.notify().unwrap();
    assert!(vector.is_pending());
    let peer = Arc::clone(&notifier);
    vm.during_bind(move || {
        let file = peer.as_fd().try_clone_to_owned().unwrap();
        let mut file = std::fs::File::from(file);
        file.write_all(&(u64::MAX - 1).to_ne_bytes()).unwrap();
        fcntl(&*peer, FcntlArg::F_SETFL(OFlag::O_RDWR)).unwrap();
    });
    vector.unmask().unwrap();
    vm.expect(&[0x40]);
    assert!(!vector.is_pending());
}

/// While the message is blocked, nothing is written for a signal that was kept.
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

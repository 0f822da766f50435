// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a table says of itself, without a request to its VM.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use irq_routing::{EditOutcome, Platform, RoutingTable, Wiring};
use kvm_test::Recorder;

use crate::{message, table};

fn hashed(table: &RoutingTable) -> u64 {
    let mut hasher = DefaultHasher::new();
    table.hash(&mut hasher);
    hasher.finish()
}

#[test]
fn handles_are_equal_if_they_are_of_one_table() {
    let ((_, one), (_, other)) = (table(), table());
    assert_eq!(one, one.clone());
    assert_eq!(hashed(&one), hashed(&one.clone()));
    assert_ne!(one, other);
    assert_ne!(hashed(&one), hashed(&other));
}

#[test]
fn a_table_says_how_many_gsis_it_does_not_lease() {
    let (_, default) = table();
    assert_eq!(default.reserved_gsis(), 24);
    let vm = Arc::new(Recorder::default());
    vm.has(Platform::X86);
    let builder = RoutingTable::builder(vm).wiring(Wiring::none(Platform::X86));
    let more = builder.reserved_gsis(48).build().unwrap();
    assert_eq!(more.reserved_gsis(), 48);
    assert_eq!(more.lease().unwrap().gsi().number(), 48);
}

#[test]
fn a_message_is_translated_for_those_who_send_it() {
    let (_, plain) = table();
    assert!(!plain.translates());
    assert_eq!(plain.translate(message(1)), Some(message(1)));
    let builder = RoutingTable::builder(Arc::new(Recorder::default()));
    let builder = builder.wiring(Wiring::none(Platform::X86));
    let next = |it| (it != message(9)).then_some(message(10));
    let translating = builder.translate(next).build().unwrap();
    assert!(translating.translates());
    assert_eq!(translating.translate(message(1)), Some(message(10)));
    assert_eq!(translating.translate(message(9)), None);
}

#[test]
fn a_table_prints_its_vm_and_its_size() {
    let (_, table) = table();
    let text = format!("{table:?}");
    for part in [
        "RoutingTable { vm: Recorder",
        "platform: Some(X86)",
        "limit: ",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let builder = RoutingTable::builder(Arc::new(Recorder::default()));
    assert!(format!("{builder:?}").contains("translation: none"));
    let builder = builder.translate(Some);
    assert!(format!("{builder:?}").contains("translation: Translation"));
}

#[test]
fn what_became_of_an_edit() {
    let refused = table().1.gsi(u32::MAX).unwrap_err();
    let refused = Arc::new(refused);
    let reason = refused.to_string();
    for (outcome, text) in [
        (EditOutcome::Committed, "committed"),
        (EditOutcome::Blocked, "blocked by the translation"),
        (EditOutcome::Superseded, "superseded by a later edit"),
        (
            EditOutcome::NotTried,
            "not tried: the round was at its limit of ioctls",
        ),
        (EditOutcome::Failed(refused), reason.as_str()),
        (EditOutcome::Panicked, "the translation or the VM panicked"),
    ] {
        assert_eq!(outcome.to_string(), text);
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a VMM prints: objects and snapshots with their registers in hex, results in words.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::{Debug, Display};
use std::sync::Arc;

use irq_routing::{MsiMessage, Platform, RoutingTable, Wiring};
use irqfd::inject::Injected;
use irqfd::{
    ArmQueue, Dead, EoiExits, LevelLine, ResumeBatch, Triggered, Vector, VectorState, msi, msix,
};
use notify_sim::{CallKind, Profile, SimVm};

const EIO: i32 = 5;

fn machine() -> (Arc<SimVm>, RoutingTable) {
    let vm = Arc::new(SimVm::builder().build());
    vm.enable_lapic(0);
    let table = RoutingTable::builder(vm.clone()).wiring(Wiring::pc());
    (vm, table.build().unwrap())
}

#[track_caller]
fn expect(value: &impl Debug, parts: &[&str]) {
    let text = format!("{value:?}");
    for part in parts {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

#[track_caller]
fn expect_text(value: &impl Display, text: &str) {
    assert_eq!(value.to_string(), text);
}

#[test]
fn a_vector_and_its_queue() {
    let (_vm, table) = machine();
    let vector = Vector::builder(&table).build().unwrap();
    let _ = vector.set_message(MsiMessage::new(0xfee0_1000, 0x41));
    let _ = vector.trigger();
    let state = ["0xfee01000", "0x41", "state: Masked", "pending: true"];
    expect(&vector.handle(), &state);
    expect(&vector, &state);
    expect(&ArmQueue::new(&table).unwrap(), &["ArmQueue"]);
}

#[test]
fn a_line() {
    let (_vm, table) = machine();
    let line = LevelLine::builder(table.line(10).unwrap());
    let line = line.build().unwrap();
    let irq = line.join().unwrap();
    irq.assert().unwrap();
    let state = ["LevelLine { number: Gsi(Gsi(10))", "asserted: true"];
    expect(&line, &state);
    expect(&irq, &state);
    expect(&EoiExits::default(), &["EoiExits"]);
}

#[test]
fn the_entry_of_a_line() {
    let vm = SimVm::builder().profile(Profile::X86Split { pins: 24 });
    let table = RoutingTable::builder(Arc::new(vm.build()));
    let table = table.wiring(Wiring::none(Platform::X86Split)).build();
    let lease = table.unwrap().lease_exact(10).unwrap();
    lease
        .set_route(MsiMessage::new(0xfee0_2000, 0x8052))
        .unwrap();
    let line = LevelLine::builder(lease.into_line().unwrap());
    let line = line.eoi_exits(&EoiExits::default()).build().unwrap();
    line.pause().unwrap();
    let entry = "SavedEntry { address: 0xfee02000, data: 0x8052, masked: true }";
    expect(&line.snapshot().unwrap(), &[entry]);
}

#[test]
fn an_msix_table() {
    let (_vm, table) = machine();
    let msix = msix::Table::builder(&table).vectors(2).build().unwrap();
    let _ = msix.set_control(true, true);
    let _ = msix.write(0, &0xfee0_1000_u64.to_le_bytes());
    let _ = msix.write(8, &0x41_u64.to_le_bytes());
    let table = "Table { vectors: 2, enabled: true, function_masked: true, .. }";
    expect(&msix, &[table]);
    msix.pause();
    let snapshot = msix.snapshot().unwrap();
    let first = "SavedVector { address: 0xfee01000, data: 0x41, masked: false, pending: false }";
    expect(&snapshot, &[first]);
    let registers = [
        "control: 0xc001",
        "table: [00, 10, e0, fe, 00",
        "pending: [0]",
    ];
    expect(&snapshot.registers().unwrap(), &registers);
    let mut batch = ResumeBatch::default();
    msix.resume_in(&mut batch);
    expect(&batch, &["ResumeBatch { vectors: 0 }"]);
}

#[test]
fn an_msi_capability() {
    let (_vm, table) = machine();
    let msi = msi::Capability::builder(&table).vectors(2).maskable(true);
    let msi = msi.build().unwrap();
    let _ = msi.write(4, &0xfee0_1000_u64.to_le_bytes());
    let _ = msi.write(12, &0x42_u16.to_le_bytes());
    let _ = msi.write(16, &3_u32.to_le_bytes());
    let written = [
        "Capability {",
        "address: 0xfee01000, data: 0x42",
        "masked: 0x3",
    ];
    expect(&msi, &written);
    msi.pause();
    let snapshot = msi.snapshot().unwrap();
    let saved = [
        "address: 0xfee01000, data: 0x42",
        "sends: SavedMessage { address: 0xfee01000, data: 0x42 }",
    ];
    expect(&snapshot, &saved);
    let registers = [
        "capability: [05, 00, 82, 01, 00, 10, e0, fe",
        "pending: 0x0",
    ];
    expect(&snapshot.registers().unwrap(), &registers);
}

#[test]
fn what_became_of_a_trigger() {
    for (triggered, text) in [
        (Triggered::Delivered, "delivered"),
        (Triggered::Blocked, "taken by no local APIC"),
        (Triggered::Signalled, "signalled"),
        (Triggered::Kept, "kept"),
        (Triggered::Disabled, "kept, because the vector is disabled"),
        (Triggered::Dead, "kept, because the vector is dead"),
    ] {
        expect_text(&triggered, text);
    }
    expect_text(
        &Injected::StillQueued,
        "not queued: an earlier vector still is",
    );
}

#[test]
fn a_vector_that_is_dead() {
    let (vm, table) = machine();
    let msix = msix::Table::builder(&table).vectors(2).name("net");
    let msix = msix.build().unwrap();
    let _ = msix.set_control(true, false);
    msix.vector(1).unwrap().export().unwrap();
    let _ = msix.write(16, &0xfee0_0000_u64.to_le_bytes());
    vm.fail(CallKind::SetGsiRouting, 1, EIO);
    let dead: Vec<Dead> = msix.write(24, &0x41_u64.to_le_bytes());
    let text = dead.iter().map(Dead::to_string).collect::<String>();
    assert!(text.starts_with("vector 1 of net is dead: "), "{text}");
    let text = msix.vector(1).unwrap().state().to_string();
    assert!(text.starts_with("dead: "), "{text}");
    expect_text(&VectorState::Queued, "queued");
}

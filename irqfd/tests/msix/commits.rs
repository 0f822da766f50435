// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How many ioctls it takes to bring a device up.

use irqfd::msix::Table;
use irqfd::{ArmQueue, VectorState};
use notify_core::EventNotifier;
use notify_sim::CallKind::{IrqFdAssign, SetGsiRouting, SignalMsi};
use std::sync::Arc;

use super::{Bench, program, set_mask, vector};

fn export_all(table: &Table) -> Vec<Arc<EventNotifier>> {
    let vectors = table.vectors().iter();
    vectors.map(|vector| vector.export().unwrap()).collect()
}

/// Linux: enabled and masked as a whole while every entry is masked, then vector by vector.
fn bring_up(table: &Table, vectors: u64) {
    let _ = table.set_control(true, true);
    (0..vectors).for_each(|number| set_mask(table, number, true));
    let _ = table.set_control(true, false);
    for number in 0..vectors {
        program(table, number, 0x40 + number as u32 % 0xb0);
        set_mask(table, number, false);
    }
}

#[test]
fn internal_vectors_take_none() {
    let bench = Bench::new();
    let table = bench.table(2048);
    let before = bench.vm.total_calls();
    bring_up(&table, 2048);
    let _ = table.set_control(true, true);
    let _ = table.set_control(true, false);
    assert_eq!(bench.vm.total_calls(), before);
    assert_eq!(bench.routing.leased(), 0);
    vector(&table, 2047).trigger().unwrap();
    assert_eq!(bench.vm.calls(SignalMsi), 1);
}

#[test]
fn with_a_queue_the_guest_waits_for_none_and_its_owner_commits_once() {
    let bench = Bench::new();
    let queue = ArmQueue::new(&bench.routing).unwrap();
    let table = Table::builder(&bench.routing).vectors(256).queue(&queue);
    let table = table.build().unwrap();
    let notifiers = export_all(&table);
    bench.vm.reset_calls();
    bring_up(&table, 256);
    assert_eq!(bench.vm.total_calls(), 0);
    assert_eq!(queue.run_pending().armed, 256);
    assert_eq!(
        (bench.vm.calls(SetGsiRouting), bench.vm.calls(IrqFdAssign)),
        (1, 256)
    );
    notifiers[255].notify().unwrap();
    bench.expect(&[0x40 + (255 % 0xb0) as u8]);
}

#[test]
fn without_a_queue_each_vector_takes_one() {
    let bench = Bench::new();
    let table = bench.table(64);
    let _notifiers = export_all(&table);
    bench.vm.reset_calls();
    bring_up(&table, 64);
    assert_eq!(
        (bench.vm.calls(SetGsiRouting), bench.vm.calls(IrqFdAssign)),
        (64, 64)
    );
}

#[test]
fn opening_the_whole_function_takes_one() {
    let bench = Bench::new();
    let table = bench.table(64);
    let notifiers = export_all(&table);
    for number in 0..64 {
        program(&table, number, 0x40 + number as u32);
        set_mask(&table, number, number == 63);
    }
    bench.vm.reset_calls();
    let _ = table.set_control(true, false);
    assert_eq!(
        (bench.vm.calls(SetGsiRouting), bench.vm.calls(IrqFdAssign)),
        (1, 63)
    );
    notifiers[3].notify().unwrap();
    notifiers[63].notify().unwrap();
    bench.expect(&[0x43]);

    // Disabled and enabled again: the routes are still there.
    let _ = table.set_control(false, false);
    let _ = table.set_control(true, false);
    assert_eq!(bench.vm.calls(SetGsiRouting), 1);
    assert_eq!(bench.vm.calls(IrqFdAssign), 2 * 63);
}

#[test]
fn a_queue_whose_owner_is_gone_is_no_queue() {
    let bench = Bench::new();
    let queue = ArmQueue::new(&bench.routing).unwrap();
    let table = Table::builder(&bench.routing).vectors(8).queue(&queue);
    let table = table.build().unwrap();
    let _notifiers = export_all(&table);
    drop(queue);
    (0..8).for_each(|number| {
        program(&table, number, 0x40);
        set_mask(&table, number, false);
    });
    bench.vm.reset_calls();
    let _ = table.set_control(true, false);
    assert_eq!(bench.vm.calls(SetGsiRouting), 1);
    let armed = |number| matches!(vector(&table, number).state(), VectorState::Armed);
    assert!((0..8).all(armed));
}

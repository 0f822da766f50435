// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The requests of a table to its VM, and what is refused before any request.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod armed;
mod batches;
mod claim;
mod commits;
mod crowd;
mod driven;
mod each;
mod errors;
mod group;
mod handles;
mod kernel_route;
mod leases;
mod observer;
mod panics;
mod parked;
mod start;
mod start_faults;
mod start_snapshot;
mod translation;
mod validation;
mod wiring;

use std::sync::Arc;

use irq_routing::{GsiLease, IrqChip, MsiMessage, Pin, Platform, RoutingTable, Wiring};
use kvm_test::{Call, Recorder};

const EINVAL: i32 = 22;

fn table() -> (Arc<Recorder>, RoutingTable) {
    let vm = Arc::new(Recorder::default());
    vm.has(Platform::X86);
    let builder = RoutingTable::builder(vm.clone()).wiring(Wiring::none(Platform::X86));
    let table = builder.build().unwrap();
    (vm, table)
}

fn message(data: u32) -> MsiMessage {
    MsiMessage::new(0xfee0_0000, data)
}

fn pin(chip: IrqChip, number: u32) -> Pin {
    Pin::new(chip, number).unwrap()
}

/// The GSIs of the tables that were committed since the last call.
fn committed(vm: &Recorder) -> Vec<Vec<u32>> {
    let gsis = |call| match call {
        Call::Routes(entries) => entries.iter().map(|entry| entry.gsi).collect(),
        other => panic!("{other:?}"),
    };
    vm.take().into_iter().map(gsis).collect()
}

#[track_caller]
fn route(table: &RoutingTable, lease: &GsiLease, data: u32) {
    let mut transaction = table.transaction();
    transaction.route(lease, message(data));
    transaction.commit().unwrap();
}

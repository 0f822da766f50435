// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Vectors and their queue: their contract, and their requests to the VM.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod batch;
mod claim;
mod committer;
mod during;
mod exhausted;
mod exported;
mod faults;
mod internal;
mod left_behind;
mod looked;
mod loops;
mod machine;
mod observer;
mod ownership;
mod paused;
mod private;
mod queue;
mod refused;
mod retarget;
mod swap;
mod translation;

use std::sync::Arc;

use irq_routing::{MsiMessage, Platform, RoutingTable, Wiring};
use irqfd::{ArmQueue, Vector, VectorHandle, VectorState};
use machine::Machine;
use notify_core::EventNotifier;

fn message(data: u32) -> MsiMessage {
    MsiMessage::new(0xfee0_0000, data)
}

/// A message that the kernel refuses.
fn guilty(data: u32) -> MsiMessage {
    MsiMessage::new(0x1_fee0_0000, data)
}

fn table() -> (Arc<Machine>, RoutingTable) {
    table_of(Wiring::none(Platform::X86))
}

fn table_of(wiring: Wiring) -> (Arc<Machine>, RoutingTable) {
    let vm = Arc::new(Machine::default());
    let table = RoutingTable::builder(vm.clone()).wiring(wiring);
    (vm, table.build().unwrap())
}

/// A masked internal vector with a message.
fn internal(table: &RoutingTable, data: u32) -> Vector {
    let vector = Vector::builder(table).build().unwrap();
    vector.set_message(message(data)).unwrap();
    vector
}

/// A masked exported vector.
fn exported(table: &RoutingTable, data: u32) -> (Vector, Arc<EventNotifier>) {
    let vector = internal(table, data);
    let notifier = vector.export().unwrap();
    (vector, notifier)
}

/// A masked exported vector with a queue.
fn queued(queue: &ArmQueue, table: &RoutingTable, data: u32) -> (Vector, Arc<EventNotifier>) {
    let vector = Vector::builder(table).queue(queue).build().unwrap();
    vector.set_message(message(data)).unwrap();
    let notifier = vector.export().unwrap();
    (vector, notifier)
}

#[track_caller]
fn expect_state(vector: &VectorHandle, state: &str) {
    assert_eq!(name(&vector.state()), state);
}

/// The name of a state, with that of its reason.
fn name(state: &VectorState) -> String {
    let text = format!("{state:?}");
    let end = text.find([' ', '{', ')']).unwrap_or(text.len());
    text[..end].to_owned()
}

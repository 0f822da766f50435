// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The MSI-X table as a guest sees it, rule by rule and at random.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

mod access;
mod allocations;
mod binding;
mod commits;
mod control;
mod foreign;
mod isolation;
mod pba;
mod random;
mod snapshot;
mod threads;
mod world;

use std::sync::Arc;

use irq_routing::RoutingTable;
use irqfd::msix::{Snapshot, Table};
use irqfd::{Triggered, VectorError, VectorHandle, VectorState};
use notify_sim::SimVm;

const LAPIC: u64 = 0xfee0_0000;

struct Bench {
    vm: Arc<SimVm>,
    routing: RoutingTable,
}

impl Bench {
    fn new() -> Self {
        let vm = Arc::new(SimVm::builder().build());
        vm.enable_lapic(0);
        let routing = RoutingTable::new(vm.clone()).unwrap();
        Self { vm, routing }
    }

    fn table(&self, vectors: usize) -> Table {
        Table::builder(&self.routing)
            .vectors(vectors)
            .build()
            .unwrap()
    }

    /// A table that the guest has enabled.
    fn enabled(&self, vectors: usize) -> Table {
        let table = self.table(vectors);
        let _ = table.set_control(true, false);
        table
    }

    #[track_caller]
    fn expect(&self, vectors: &[u8]) {
        assert_eq!(self.vm.pending_vectors(0), vectors);
        self.vm.clear_vectors(0);
    }
}

/// A snapshot of a table that goes on.
#[track_caller]
fn save(table: &Table) -> Snapshot {
    table.pause();
    let snapshot = table.snapshot().unwrap();
    let _ = table.resume();
    snapshot
}

fn write32(table: &Table, offset: u64, value: u32) {
    let _ = table.write(offset, &value.to_le_bytes());
}

fn read32(table: &Table, offset: u64) -> u32 {
    let mut bytes = [0; 4];
    table.read(offset, &mut bytes);
    u32::from_le_bytes(bytes)
}

fn pending(table: &Table, word: u64) -> u64 {
    let mut bytes = [0; 8];
    table.pba_read(8 * word, &mut bytes);
    u64::from_le_bytes(bytes)
}

/// As Linux sets the message of a masked entry.
fn program(table: &Table, number: u64, data: u32) {
    write32(table, 16 * number, LAPIC as u32);
    write32(table, 16 * number + 4, 0);
    write32(table, 16 * number + 8, data);
}

fn set_mask(table: &Table, number: u64, masked: bool) {
    write32(table, 16 * number + 12, masked.into());
}

/// The vectors that are open and cannot deliver.
fn dead(vectors: &[VectorHandle]) -> Vec<(usize, VectorError)> {
    let dead = |(number, vector): (usize, &VectorHandle)| match vector.state() {
        VectorState::Dead(reason) => Some((number, reason)),
        _ => None,
    };
    vectors.iter().enumerate().filter_map(dead).collect()
}

fn is_function_masked(table: &Table) -> bool {
    table.message_control() & 1 << 14 != 0
}

/// Only a paused table has a snapshot.
fn is_paused(table: &Table) -> bool {
    table.snapshot().is_ok()
}

fn vector(table: &Table, number: u16) -> &VectorHandle {
    table.vector(number).unwrap()
}

#[track_caller]
fn expect_kept(table: &Table, number: u16) {
    let kept = match table.is_enabled() {
        true => Triggered::Kept,
        false => Triggered::Disabled,
    };
    assert_eq!(vector(table, number).trigger().unwrap(), kept);
}

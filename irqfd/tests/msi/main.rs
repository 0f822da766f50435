// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The MSI capability as a guest sees it, rule by rule and at random.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

mod foreign;
mod random;
mod registers;
mod sending;
mod snapshot;
mod threads;
mod world;

use std::sync::Arc;

use irq_routing::RoutingTable;
use irqfd::msi::{Capability, CapabilityBuilder, Snapshot};
use irqfd::{Triggered, VectorHandle};
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

    fn builder(&self) -> CapabilityBuilder<'_> {
        Capability::builder(&self.routing)
    }

    /// One of the [`SHAPES`]: 64-bit addresses, mask bits, Extended Message Data.
    fn shaped(&self, (wide, maskable, extended): (bool, bool, bool)) -> CapabilityBuilder<'_> {
        let builder = self.builder().wide(wide).maskable(maskable);
        builder.extended_data(extended)
    }

    #[track_caller]
    fn expect(&self, vectors: &[u8]) {
        assert_eq!(self.vm.pending_vectors(0), vectors);
        self.vm.clear_vectors(0);
    }
}

const SHAPES: [(bool, bool, bool); 8] = [
    (false, false, false),
    (false, false, true),
    (false, true, false),
    (false, true, true),
    (true, false, false),
    (true, false, true),
    (true, true, false),
    (true, true, true),
];

/// A capability with 64-bit addresses and mask bits, as a driver sets it up for so many vectors.
fn driven(bench: &Bench, vectors: usize, granted: u16, data: u16) -> Capability {
    let msi = bench.builder().vectors(vectors).build().unwrap();
    let _ = msi.write(4, &LAPIC.to_le_bytes());
    let _ = msi.write(12, &data.to_le_bytes());
    let _ = msi.write(2, &(granted << 4 | 1).to_le_bytes());
    msi
}

fn read16(msi: &Capability, offset: u64) -> u16 {
    let mut bytes = [0; 2];
    msi.read(offset, &mut bytes);
    u16::from_le_bytes(bytes)
}

fn read32(msi: &Capability, offset: u64) -> u32 {
    let mut bytes = [0; 4];
    msi.read(offset, &mut bytes);
    u32::from_le_bytes(bytes)
}

/// A snapshot of a capability that goes on.
#[track_caller]
fn save(msi: &Capability) -> Snapshot {
    msi.pause();
    let snapshot = msi.snapshot().unwrap();
    let _ = msi.resume();
    snapshot
}

fn write32(msi: &Capability, offset: u64, value: u32) {
    let _ = msi.write(offset, &value.to_le_bytes());
}

fn vector(msi: &Capability, number: u16) -> &VectorHandle {
    msi.vector(number).unwrap()
}

#[track_caller]
fn expect_kept(msi: &Capability, number: u16) {
    let kept = match msi.is_enabled() {
        true => Triggered::Kept,
        false => Triggered::Disabled,
    };
    assert_eq!(vector(msi, number).trigger().unwrap(), kept);
}

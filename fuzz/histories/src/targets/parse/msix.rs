// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! MSI-X tables: saved states, and registers of other formats.

use std::sync::Arc;

use irq_routing::RoutingTable;
use irqfd::msix::{Registers, Snapshot, Table};
use notify_sim::{CallKind, Profile};
use serde_json::Value;

use super::Reading;
use super::memory::bounded;
use super::saved::{expect_short, read as read_saved};
use super::tree::Tree;
use super::vm::Watched;

const MAX: usize = 2048;
const ENTRY: usize = 16;

fn vectors(shape: u16) -> usize {
    match shape % 16 {
        15 => 66,
        n => 1 + usize::from(n) % 5,
    }
}

struct Device {
    vm: Arc<Watched>,
    table: Table,
}

impl Device {
    fn new(vectors: usize) -> Self {
        let vm = Watched::new(Profile::X86);
        let routing = RoutingTable::new(vm.clone()).expect("it has a routing table");
        let table = Table::builder(&routing).vectors(vectors);
        let table = table.build().expect("nothing that can fail");
        Self { vm, table }
    }

    /// One that a guest has programmed, some of whose vectors are exported or pending.
    fn programmed(vectors: usize, shape: u16) -> Self {
        let device = Self::new(vectors);
        let table = &device.table;
        for (number, vector) in table.vectors().iter().enumerate() {
            let number = number as u64;
            program(table, number, 0x60 + number % 16, shape >> (number % 8) & 1);
            if shape >> (4 + number % 4) & 1 != 0 {
                vector.export().expect("descriptors");
            }
        }
        let _ = table.set_control(shape & 0x100 != 0, shape & 0x200 != 0);
        let pending = table.vectors().iter().step_by(2);
        pending.for_each(|vector| drop(vector.trigger()));
        if shape & 0x400 != 0 {
            table.pause();
        }
        device
    }

    /// Everything that a restore may change.
    fn observe(&self) -> (Vec<u8>, Vec<u8>, u16, Value) {
        let mut bytes = vec![0; self.table.vectors().len() * ENTRY];
        self.table.read(0, &mut bytes);
        let mut pending = vec![0; self.table.vectors().len().div_ceil(64) * 8];
        self.table.pba_read(0, &mut pending);
        let control = self.table.message_control();
        (bytes, pending, control, self.save(false))
    }

    /// What is saved of it now; it stays paused if it shall.
    fn save(&self, stays: bool) -> Value {
        let is_paused = self.table.snapshot().is_ok();
        self.table.pause();
        let snapshot = self.table.snapshot().expect("it is paused");
        if !is_paused && !stays {
            assert!(self.table.resume().is_empty());
        }
        serde_json::to_value(snapshot).expect("it is known")
    }

    /// A vector that the guest programs anew reaches it.
    fn works(&self) {
        let _ = self.table.resume();
        let _ = self.table.set_control(true, false);
        program(&self.table, 0, 0x35, 1);
        let vector = self.table.vector(0).expect("there is one");
        self.vm.sim.clear_vectors(0);
        let _ = self.table.write(12, &0_u32.to_le_bytes());
        let _ = vector.trigger().expect("it is armed");
        if let Some(notifier) = vector.notifier() {
            notifier.notify().expect("it has room");
        }
        let _ = self.vm.sim.deliver();
        assert_eq!(self.vm.sim.pending_vectors(0), [0x35]);
    }
}

fn program(table: &Table, number: u64, data: u64, masked: u16) {
    let at = number * 16;
    let _ = table.write(at + 12, &1_u32.to_le_bytes());
    let _ = table.write(at, &0xfee0_0000_u64.to_le_bytes());
    let _ = table.write(at + 8, &(data as u32).to_le_bytes());
    let _ = table.write(at + 12, &u32::from(masked).to_le_bytes());
}

pub(super) fn valid(shape: u16) -> Tree {
    Tree::of(&Device::programmed(vectors(shape), shape).save(true))
}

pub(super) fn valid_registers(shape: u16) -> Tree {
    let device = Device::programmed(vectors(shape), shape);
    device.table.pause();
    let snapshot = device.table.snapshot().expect("it is paused");
    let registers = snapshot.registers().expect("a table has it");
    Tree::map([
        ("control", Tree::number(registers.control)),
        ("table", Tree::list(&registers.table)),
        ("pending", Tree::list(&registers.pending)),
    ])
}

pub(super) fn read(reading: &Reading<'_>) {
    let Some(known) = read_saved::<Snapshot>(reading, 2) else {
        return;
    };
    let saved = known.value.as_ref().map(|value| &value["vectors"]);
    let saved = saved.map(|vectors| vectors.as_array().expect("a list").as_slice());
    assert!(saved.is_none_or(|vectors| vectors.len() <= MAX));
    let are_aligned = saved.is_some_and(|vectors| vectors.iter().all(is_aligned));
    let wanted = vectors(reading.shape);
    let can_be = are_aligned && saved.is_some_and(|vectors| vectors.len() == wanted);
    restore(
        reading,
        &known.snapshot,
        known.value.as_ref(),
        (wanted, can_be),
    );

    let registers = known.snapshot.registers();
    let is_some = saved.is_some_and(|vectors| !vectors.is_empty());
    assert_eq!(registers.is_ok(), are_aligned && is_some, "{registers:?}");
    match registers {
        Ok(registers) => {
            let again = Snapshot::try_from(&registers);
            assert_eq!(again.as_ref(), Ok(&known.snapshot));
        }
        Err(error) => expect_short(&error),
    }
}

fn is_aligned(vector: &Value) -> bool {
    vector["address"]
        .as_u64()
        .is_some_and(|address| address % 4 == 0)
}

/// Restores to a device that is in use.
fn restore(
    reading: &Reading<'_>,
    snapshot: &Snapshot,
    value: Option<&Value>,
    (vectors, can_be): (usize, bool),
) {
    let device = Device::programmed(vectors, reading.shape.rotate_left(7));
    let before = device.observe();
    let is_paused = device.table.snapshot().is_ok();
    device
        .vm
        .arm(reading, &[CallKind::SetGsiRouting, CallKind::IrqFdAssign]);
    let restored = device.table.restore(snapshot);
    device.vm.sim.clear_faults();
    assert_eq!(restored.is_ok(), can_be, "{restored:?}");
    match (restored, value) {
        (Err(error), _) => {
            expect_short(&error);
            assert_eq!(device.observe(), before);
        }
        (Ok(_), None) => panic!("another version was restored"),
        (Ok(dead), Some(value)) => {
            assert!(!is_paused || dead.is_empty());
            let mut now = device.save(true);
            let mut then = value.clone();
            let is_open = then["enabled"] == true && then["function_masked"] == false;
            for number in 0..vectors {
                let is_open = is_open && then["vectors"][number]["masked"] == false;
                if is_open && !is_paused {
                    // It was delivered, or waits for a route.
                    for value in [&mut now, &mut then] {
                        value["vectors"][number]["pending"] = Value::Null;
                    }
                }
            }
            assert_eq!(now, then);
        }
    }
    device.works();
}

pub(super) fn read_registers(reading: &Reading<'_>) {
    let Some(tree) = reading.tree else {
        return;
    };
    let numbers = |name: &str| tree.field(name).map_or(Vec::new(), Tree::as_numbers);
    let registers = Registers {
        control: tree.field("control").map_or(0, Tree::as_u64) as u16,
        table: numbers("table")
            .into_iter()
            .map(|byte| byte as u8)
            .collect(),
        pending: numbers("pending"),
    };
    let len = registers.table.len() + 8 * registers.pending.len();
    let snapshot = bounded(4 * len, || Snapshot::try_from(&registers));
    let vectors = registers.table.len() / ENTRY;
    let all = (0_u64..).zip(&registers.pending);
    let beyond = |(word, bits): (u64, &u64)| {
        (0..64).any(|bit| bits >> bit & 1 != 0 && word * 64 + bit >= vectors as u64)
    };
    let can_be = registers.table.len().is_multiple_of(ENTRY)
        && (1..=MAX).contains(&vectors)
        && usize::from(registers.control & 0x7ff) + 1 == vectors
        && !all.into_iter().any(beyond);
    assert_eq!(snapshot.is_ok(), can_be, "{snapshot:?}");
    assert!(can_be || !reading.valid);
    match snapshot {
        Err(error) => expect_short(&error),
        Ok(snapshot) => {
            let expected = normal(registers, vectors);
            assert_eq!(snapshot.registers().as_ref(), Ok(&expected));
            let value = serde_json::to_value(&snapshot).expect("it is known");
            restore(reading, &snapshot, Some(&value), (vectors, true));
        }
    }
}

/// Without the bits that mean nothing, and with as many words of pending bits as there are.
fn normal(mut registers: Registers, vectors: usize) -> Registers {
    registers.control &= 0xc7ff;
    for entry in registers.table.chunks_mut(ENTRY) {
        entry[0] &= !3;
        entry[12] &= 1;
        entry[13..].fill(0);
    }
    registers.pending.resize(vectors.div_ceil(64), 0);
    registers
}

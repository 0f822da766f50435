// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Random histories of a table, beside a model that is an array of bytes with the rules of the
//! specification. The model sends its messages to a second VM, which must end up with the same
//! interrupts.

use std::sync::Arc;

use irqfd::ArmQueue;
use irqfd::msix::Table;
use notify_core::{MsiMessage, Vm};
use notify_sim::SimVm;
use proptest::prelude::*;

use super::{Bench, save};

#[derive(Debug, Clone)]
pub(super) enum Step {
    Write(u64, Vec<u8>),
    Read(u64, usize),
    Pba(u64, usize),
    Control(u16),
    Trigger(usize),
    Export(usize),
    Unexport(usize),
    Run,
    Reset,
    Restore,
}

fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => (0..6_u64, 0..4_u64).prop_map(|(entry, word)| 16 * entry + 4 * word),
        3 => 0..104_u64,
        1 => any::<u64>(),
        1 => (0..16_u64).prop_map(|less| u64::MAX - less),
    ]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        3 => Just(0xfee0_0000_u32),
        1 => Just(0xfee0_0003),
        1 => Just(0xfee0_1000),
        3 => 0x40..0x48_u32,
        6 => 0..2_u32,
        1 => any::<u32>(),
    ];
    prop_oneof![
        6 => word.clone().prop_map(|word| word.to_le_bytes().to_vec()),
        2 => (word.clone(), word)
            .prop_map(|(low, high)| [low.to_le_bytes(), high.to_le_bytes()].concat()),
        1 => prop::collection::vec(any::<u8>(), 1..=2),
        1 => prop::collection::vec(any::<u8>(), 8),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let vector = || 0..6_usize;
    let len = || prop_oneof![4 => prop::sample::select(vec![1_usize, 2, 4, 8]), 1 => 0..12_usize];
    prop_oneof![
        12 => (offset(), bytes()).prop_map(|(offset, bytes)| Step::Write(offset, bytes)),
        3 => (offset(), len()).prop_map(|(offset, len)| Step::Read(offset, len)),
        3 => (prop_oneof![0..12_u64, offset()], len())
            .prop_map(|(offset, len)| Step::Pba(offset, len)),
        2 => prop::sample::select(vec![0_u16, 0x4000, 0x8000, 0x8000, 0x8000, 0xc000, 0xffff])
            .prop_map(Step::Control),
        6 => vector().prop_map(Step::Trigger),
        2 => vector().prop_map(Step::Export),
        1 => vector().prop_map(Step::Unexport),
        3 => Just(Step::Run),
        1 => prop::bool::weighted(0.3)
            .prop_map(|reset| if reset { Step::Reset } else { Step::Restore }),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Arm {
    Off,
    Queued,
    Armed,
    Dead,
}

/// A vector in the model.
#[derive(Debug, Clone, Copy)]
struct Line {
    exported: bool,
    arm: Arm,
    /// A trigger that was kept, or the notifier's counter.
    kept: bool,
    sends: (u64, u32),
}

struct Model {
    bytes: Vec<u8>,
    enabled: bool,
    function_masked: bool,
    lines: Vec<Line>,
    has_queue: bool,
    /// Whether the kernel refuses some addresses.
    choosy: bool,
    guest: Arc<SimVm>,
}

impl Model {
    fn masked(&self, n: usize) -> bool {
        self.bytes[16 * n + 12] & 1 != 0 || self.function_masked || !self.enabled
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().unwrap())
    }

    fn send(&mut self, n: usize) {
        self.lines[n].kept = false;
        let (address, data) = self.lines[n].sends;
        // Refused or not: the trigger is gone.
        let _ = self.guest.signal_msi(&MsiMessage::new(address, data));
    }

    fn arm(&mut self, n: usize, queue: bool) {
        if queue {
            self.lines[n].arm = Arm::Queued;
        } else if self.choosy && self.lines[n].sends.0 >> 32 & 0xff != 0 {
            self.lines[n].arm = Arm::Dead;
        } else {
            self.lines[n].arm = Arm::Armed;
            if self.lines[n].kept {
                self.send(n);
            }
        }
    }

    /// All changes of masks and messages go through here.
    fn change(&mut self, change: impl FnOnce(&mut Self)) {
        let before: Vec<_> = (0..self.lines.len()).map(|n| self.masked(n)).collect();
        change(self);
        for (n, was_masked) in before.into_iter().enumerate() {
            if self.masked(n) {
                self.lines[n].arm = Arm::Off;
                continue;
            }
            let address = u64::from(self.word(16 * n + 4)) << 32 | u64::from(self.word(16 * n));
            let message = (address, self.word(16 * n + 8));
            let sent = std::mem::replace(&mut self.lines[n].sends, message);
            if !was_masked && sent == message {
                continue;
            }
            if self.lines[n].exported {
                self.arm(n, self.has_queue);
            } else if self.lines[n].kept {
                self.send(n);
            }
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        if ![1, 2, 4, 8].contains(&bytes.len()) {
            return;
        }
        // One entry after the other.
        for part in 0..2 {
            self.change(|model| {
                for (n, byte) in bytes.iter().enumerate() {
                    let at = u128::from(offset) + n as u128;
                    let is_second = at / 16 != u128::from(offset) / 16;
                    if at < model.bytes.len() as u128 && is_second == (part == 1) {
                        let reserved = match at % 16 {
                            0 => 0x03,
                            12 => 0xfe,
                            13.. => 0xff,
                            _ => 0,
                        };
                        model.bytes[at as usize] = byte & !reserved;
                    }
                }
            });
        }
    }

    fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let byte = |n| {
            let at = u128::from(offset) + n as u128;
            let there = at < self.bytes.len() as u128 && [1, 2, 4, 8].contains(&len);
            if there { self.bytes[at as usize] } else { 0xff }
        };
        (0..len).map(byte).collect()
    }

    fn pba(&self, offset: u64, len: usize) -> Vec<u8> {
        let words = self.lines.len().div_ceil(64);
        let mut bits = vec![0; 8 * words];
        for (n, line) in self.lines.iter().enumerate() {
            if self.masked(n) && line.kept {
                bits[n / 8] |= 1 << (n % 8);
            }
        }
        let byte = |n| {
            let at = u128::from(offset) + n as u128;
            let there = at < bits.len() as u128 && [1, 2, 4, 8].contains(&len);
            if there { bits[at as usize] } else { 0xff }
        };
        (0..len).map(byte).collect()
    }

    fn trigger(&mut self, n: usize) {
        let Line { exported, arm, .. } = self.lines[n];
        self.lines[n].kept = true;
        let open = !exported && !self.masked(n);
        if open || (exported && arm == Arm::Armed) {
            self.send(n);
        }
    }

    fn export(&mut self, n: usize) {
        if !std::mem::replace(&mut self.lines[n].exported, true) && !self.masked(n) {
            self.arm(n, self.has_queue);
        }
    }

    fn unexport(&mut self, n: usize) {
        if std::mem::replace(&mut self.lines[n].exported, false) {
            self.lines[n].arm = Arm::Off;
            if self.lines[n].kept && !self.masked(n) {
                self.send(n);
            }
        }
    }

    fn run(&mut self) {
        for n in 0..self.lines.len() {
            if self.lines[n].arm == Arm::Queued {
                self.arm(n, false);
            }
        }
    }

    fn reset(&mut self) {
        (self.enabled, self.function_masked) = (false, false);
        for (n, line) in self.lines.iter_mut().enumerate() {
            self.bytes[16 * n..][..16].fill(0);
            self.bytes[16 * n + 12] = 1;
            (line.kept, line.arm) = (false, Arm::Off);
        }
    }

    /// A vector that was armed, or could not be, is armed anew with its message of that moment.
    fn restore(&mut self) {
        for n in 0..self.lines.len() {
            if self.lines[n].exported && !self.masked(n) {
                self.arm(n, self.has_queue);
            } else if self.lines[n].kept && !self.masked(n) {
                self.send(n);
            }
        }
    }
}

fn check(model: &Model, table: &Table, vm: &SimVm) {
    assert_eq!(vm.pending_vectors(0), model.guest.pending_vectors(0));
    vm.clear_vectors(0);
    model.guest.clear_vectors(0);
    let control = table.message_control();
    let expected = (u16::from(model.enabled) << 15)
        | (u16::from(model.function_masked) << 14)
        | (model.lines.len() as u16 - 1);
    assert_eq!(control, expected);
    let mut pending = vec![0; 8 * table.vectors().len().div_ceil(64)];
    for (n, word) in pending.chunks_mut(8).enumerate() {
        table.pba_read(8 * n as u64, word);
    }
    assert_eq!(
        pending,
        [model.pba(0, 8), model.pba(8, 8)].concat()[..pending.len()]
    );
    for (n, line) in model.lines.iter().enumerate() {
        let vector = table.vector(n as u16).unwrap();
        assert_eq!(vector.is_masked(), model.masked(n));
        assert_eq!(vector.notifier().is_some(), line.exported);
    }
}

pub(super) fn play(vectors: usize, has_queue: bool, choosy: bool, steps: Vec<Step>) {
    let (bench, other) = (Bench::new(), Bench::new());
    if choosy {
        bench.vm.enable_x2apic_ids();
        other.vm.enable_x2apic_ids();
    }
    let queue = ArmQueue::new(&bench.routing).unwrap();
    let mut builder = Table::builder(&bench.routing).vectors(vectors);
    if has_queue {
        builder = builder.queue(&queue);
    }
    let table = builder.build().unwrap();
    let line = Line {
        exported: false,
        arm: Arm::Off,
        kept: false,
        sends: (0, 0),
    };
    let mut model = Model {
        bytes: vec![0; 16 * vectors],
        enabled: false,
        function_masked: false,
        lines: vec![line; vectors],
        has_queue,
        choosy,
        guest: other.vm,
    };
    model.reset();
    for step in steps {
        match step {
            Step::Write(offset, bytes) => {
                let _ = table.write(offset, &bytes);
                model.write(offset, &bytes);
            }
            Step::Read(offset, len) => {
                let mut bytes = vec![0x5a; len];
                table.read(offset, &mut bytes);
                assert_eq!(bytes, model.read(offset, len), "{len} at {offset:#x}");
            }
            Step::Pba(offset, len) => {
                let mut bytes = vec![0x5a; len];
                table.pba_read(offset, &mut bytes);
                assert_eq!(bytes, model.pba(offset, len), "{len} at {offset:#x}");
            }
            Step::Control(control) => {
                let _ = table.config_write(2, &control.to_le_bytes());
                model.change(|model| {
                    model.enabled = control & 0x8000 != 0;
                    model.function_masked = control & 0x4000 != 0;
                });
            }
            Step::Trigger(n) if n < vectors => {
                // The model computes the result.
                let _ = table.vectors()[n].trigger();
                model.trigger(n);
            }
            Step::Export(n) if n < vectors => {
                table.vectors()[n].export().unwrap();
                model.export(n);
            }
            Step::Unexport(n) if n < vectors => {
                // The model computes what happens to a kept trigger.
                let _ = table.vectors()[n].unexport();
                model.unexport(n);
            }
            Step::Trigger(_) | Step::Export(_) | Step::Unexport(_) => {}
            Step::Run => {
                let _ = queue.run_pending();
                model.run();
            }
            Step::Reset => {
                table.reset();
                model.reset();
            }
            Step::Restore => {
                let snapshot = save(&table);
                table.restore(&snapshot).unwrap();
                model.restore();
                assert!(
                    has_queue
                        || save(&table) == snapshot
                        || !super::dead(table.vectors()).is_empty()
                );
            }
        }
        check(&model, &table, &bench.vm);
    }
    let mut all = vec![0; 8];
    for n in (0..16 * table.vectors().len() as u64).step_by(8) {
        table.read(n, &mut all);
        assert_eq!(all, model.read(n, 8));
    }
}

proptest! {
    #[test]
    fn a_table_is_what_the_specification_says(
        vectors in prop_oneof![4 => 1..6_usize, 1 => Just(65_usize)],
        has_queue in any::<bool>(),
        choosy in any::<bool>(),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        play(vectors, has_queue, choosy, steps);
    }
}

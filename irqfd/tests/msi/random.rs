// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Random histories of a capability, beside a model that is an array of bytes with the rules of the
//! specification. The model sends its messages to a second VM.

use std::sync::Arc;

use irqfd::ArmQueue;
use irqfd::msi::Snapshot;
use notify_core::{MsiMessage, Vm};
use notify_sim::SimVm;
use proptest::prelude::*;

use super::{Bench, SHAPES, save};

#[derive(Debug, Clone)]
pub(super) enum Step {
    Write(u64, Vec<u8>),
    Read(u64, usize),
    Trigger(usize),
    Export(usize),
    Run,
    Reset,
}

fn step() -> impl Strategy<Value = Step> {
    let offset = || {
        prop_oneof![
            8 => prop::sample::select(vec![2_u64, 2, 4, 8, 10, 12, 14, 16, 20]),
            3 => 0..28_u64,
            1 => any::<u64>(),
            1 => (0..9_u64).prop_map(|less| u64::MAX - less),
        ]
    };
    let word = prop_oneof![
        3 => Just(0xfee0_0000_u32),
        1 => Just(0xfee0_1003),
        // Enabled with Extended Message Data, and data for it.
        1 => Just(0x0000_0401),
        1 => Just(0x0001_0041),
        3 => 0x40..0x80_u32,
        4 => 0..0x80_u32,
        2 => Just(0),
        1 => any::<u32>(),
    ];
    let bytes = prop_oneof![
        5 => word.clone().prop_map(|word| word.to_le_bytes().to_vec()),
        3 => word.clone().prop_map(|word| word.to_le_bytes()[..2].to_vec()),
        1 => word.prop_map(|word| word.to_le_bytes()[..1].to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..30),
    ];
    prop_oneof![
        10 => (offset(), bytes).prop_map(|(offset, bytes)| Step::Write(offset, bytes)),
        3 => (offset(), 0..30_usize).prop_map(|(offset, len)| Step::Read(offset, len)),
        6 => (0..32_usize).prop_map(Step::Trigger),
        1 => (0..32_usize).prop_map(Step::Export),
        2 => Just(Step::Run),
        1 => prop::bool::weighted(0.2)
            .prop_map(|reset| if reset { Step::Reset } else { Step::Run }),
    ]
}

#[derive(Debug, Clone, Copy, Default)]
struct Line {
    exported: bool,
    queued: bool,
    armed: bool,
    kept: bool,
    sends: (u64, u32),
}

struct Model {
    log: u32,
    shape: (bool, bool, bool),
    has_queue: bool,
    bytes: Vec<u8>,
    /// The writable bits of the bytes.
    writable: Vec<u8>,
    lines: Vec<Line>,
    taken: (u64, u32),
    guest: Arc<SimVm>,
}

impl Model {
    fn new(log: u32, shape: (bool, bool, bool), has_queue: bool, guest: Arc<SimVm>) -> Self {
        let (wide, maskable, extended) = shape;
        let enable = if extended { 4 } else { 0 };
        let low = [0, 0, 0x71, enable, 0xfc, 0xff, 0xff, 0xff];
        let mut writable = low.to_vec();
        if wide {
            writable.extend([0xff; 4]);
        }
        writable.extend([0xff; 2]);
        if maskable {
            let bits = ((1_u64 << (1 << log)) - 1) as u32;
            writable.resize(writable.len() + 2, if extended { 0xff } else { 0 });
            writable.extend(bits.to_le_bytes());
            writable.extend([0; 4]);
        } else if extended {
            writable.extend([0xff; 2]);
        }
        let mut model = Self {
            log,
            shape,
            has_queue,
            bytes: Vec::new(),
            writable,
            lines: vec![Line::default(); 1 << log],
            taken: (0, 0),
            guest,
        };
        model.reset();
        model
    }

    fn reset(&mut self) {
        self.bytes = vec![0; self.writable.len()];
        self.bytes[0] = 5;
        self.bytes[2] = (self.log << 1) as u8 | u8::from(self.shape.0) << 7;
        self.bytes[3] = u8::from(self.shape.1) | u8::from(self.shape.2) << 1;
        self.taken = (0, 0);
        for line in &mut self.lines {
            let exported = line.exported;
            *line = Line {
                exported,
                ..Line::default()
            };
        }
    }

    fn granted(&self) -> usize {
        1 << (self.bytes[2] >> 4 & 7)
    }

    fn is_open(&self, n: usize) -> bool {
        let mask = self.data_at() + 4;
        let masked = self.shape.1 && self.bytes[mask + n / 8] >> (n % 8) & 1 != 0;
        self.bytes[2] & 1 != 0 && n < self.granted() && !masked
    }

    fn data_at(&self) -> usize {
        if self.shape.0 { 12 } else { 8 }
    }

    /// How many bytes of data count.
    fn data_len(&self) -> usize {
        if self.bytes[3] & 4 != 0 { 4 } else { 2 }
    }

    fn written(&self) -> (u64, u32) {
        let mut address = self.bytes[4..self.data_at()].to_vec();
        address.resize(8, 0);
        let mut data = self.bytes[self.data_at()..][..self.data_len()].to_vec();
        data.resize(4, 0);
        let data = u32::from_le_bytes(data.try_into().unwrap());
        (u64::from_le_bytes(address.try_into().unwrap()), data)
    }

    fn send(&mut self, n: usize) {
        self.lines[n].kept = false;
        let (address, data) = self.lines[n].sends;
        let _ = self.guest.signal_msi(&MsiMessage::new(address, data));
    }

    fn open(&mut self, n: usize) {
        if self.lines[n].exported && self.has_queue {
            self.lines[n].queued = true;
            self.lines[n].armed = false;
        } else {
            self.lines[n].armed = self.lines[n].exported;
            if self.lines[n].kept {
                self.send(n);
            }
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let was: Vec<_> = (0..self.lines.len()).map(|n| self.is_open(n)).collect();
        let (granted, len) = (self.granted(), self.data_len());
        let mut written = Vec::new();
        for (n, byte) in bytes.iter().enumerate() {
            let at = u128::from(offset) + n as u128;
            if at >= self.bytes.len() as u128 {
                continue;
            }
            let at = at as usize;
            written.push(at);
            let mask = self.writable[at];
            self.bytes[at] = self.bytes[at] & !mask | byte & mask;
            if at == 2 && u32::from(self.bytes[2] >> 4 & 7) > self.log {
                self.bytes[2] = self.bytes[2] & 0x8f | (self.log << 4) as u8;
            }
        }
        let data = self.data_at()..self.data_at() + self.data_len();
        let data_written = written.iter().any(|at| data.contains(at));
        let another_len = self.data_len() != len;
        let regranted = self.granted() != granted;
        let opened = (0..self.lines.len()).any(|n| self.is_open(n) && !was[n]);
        if data_written || another_len || regranted || opened {
            self.taken = self.written();
        }
        for (n, was_open) in was.into_iter().enumerate() {
            let low = self.granted() as u32 - 1;
            let message = (self.taken.0, self.taken.1 & !low | n as u32 & low);
            if !self.is_open(n) {
                (self.lines[n].armed, self.lines[n].queued) = (false, false);
            } else if !was_open || message != self.lines[n].sends {
                self.lines[n].sends = message;
                self.open(n);
            }
            if regranted && n >= self.granted() {
                self.lines[n].kept = false;
            }
        }
    }

    fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        if self.shape.1 {
            for (n, line) in self.lines.iter().enumerate().take(self.granted()) {
                if line.kept && !self.is_open(n) {
                    bytes[self.data_at() + 8 + n / 8] |= 1 << (n % 8);
                }
            }
        }
        let at = |n| usize::try_from(u128::from(offset) + n as u128).unwrap_or(usize::MAX);
        (0..len)
            .map(|n| bytes.get(at(n)).copied().unwrap_or(0))
            .collect()
    }
}

pub(super) fn play(log: u32, shape: (bool, bool, bool), has_queue: bool, steps: Vec<Step>) {
    let (bench, other) = (Bench::new(), Bench::new());
    let queue = ArmQueue::new(&bench.routing).unwrap();
    let mut builder = bench.shaped(shape).vectors(1 << log);
    if has_queue {
        builder = builder.queue(&queue);
    }
    let msi = builder.build().unwrap();
    let mut model = Model::new(log, shape, has_queue, other.vm);
    for step in steps {
        match step {
            Step::Write(offset, bytes) => {
                let _ = msi.write(offset, &bytes);
                model.write(offset, &bytes);
            }
            Step::Read(offset, len) => {
                let mut bytes = vec![0x5a; len];
                msi.read(offset, &mut bytes);
                assert_eq!(bytes, model.read(offset, len), "{len} at {offset:#x}");
            }
            Step::Trigger(n) => {
                let n = n % (1 << log);
                msi.vectors()[n].trigger().unwrap();
                model.lines[n].kept = true;
                let line = model.lines[n];
                if line.armed || (!line.exported && model.is_open(n)) {
                    model.send(n);
                }
            }
            Step::Export(n) => {
                let n = n % (1 << log);
                msi.vectors()[n].export().unwrap();
                let was = std::mem::replace(&mut model.lines[n].exported, true);
                if !was && model.is_open(n) {
                    model.open(n);
                }
            }
            Step::Run => {
                let _ = queue.run_pending();
                for n in 0..1 << log {
                    if std::mem::take(&mut model.lines[n].queued) {
                        model.lines[n].armed = true;
                        if model.lines[n].kept {
                            model.send(n);
                        }
                    }
                }
            }
            Step::Reset => {
                msi.reset();
                model.reset();
            }
        }
        let expected = model.guest.pending_vectors(0);
        bench.expect(&expected);
        model.guest.clear_vectors(0);
        let mut all = [0; 26];
        msi.read(0, &mut all);
        assert_eq!(all.to_vec(), model.read(0, 26));
        let masked = msi.vectors().iter().map(|vector| !vector.is_masked());
        let open: Vec<_> = (0..1 << log).map(|n| model.is_open(n)).collect();
        assert_eq!(masked.collect::<Vec<_>>(), open);
        for n in (0..1 << log).filter(|n| open[*n]) {
            let message = msi.vectors()[n].message();
            assert_eq!((message.address, message.data), model.lines[n].sends);
        }
    }
    // It can always be saved.
    let snapshot = save(&msi);
    let registers = snapshot.registers().unwrap();
    assert_eq!(registers.capability, model.read(0, msi.len()));
    let again = Snapshot::try_from(&registers).unwrap();
    assert_eq!(again.registers().unwrap(), registers);
    let other = Bench::new();
    let restored = other.shaped(shape).vectors(1 << log).build().unwrap();
    for snapshot in [&again, &snapshot] {
        let _ = restored.restore(snapshot).unwrap();
        let mut all = vec![0; msi.len()];
        restored.read(0, &mut all);
        assert_eq!(all, registers.capability);
    }
    for (vector, twin) in msi.vectors().iter().zip(restored.vectors()) {
        assert_eq!(vector.is_masked(), twin.is_masked());
        if !vector.is_masked() {
            assert_eq!(vector.message(), twin.message());
        }
    }
}

proptest! {
    #[test]
    fn a_capability_is_what_the_specification_says(
        log in 0..6_u32,
        shape in prop::sample::select(&SHAPES[..]),
        has_queue in any::<bool>(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        play(log, shape, has_queue, steps);
    }
}

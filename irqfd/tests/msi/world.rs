// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! All accesses to each layout of the capability, beside the model of the random histories: every
//! offset, every length and three values.

use std::cell::Cell;

use super::SHAPES;
use super::random::{Step, play};

/// No layout is longer.
const LONGEST: u64 = 24;

/// Offsets in the capability and behind it, and those from which an access would wrap around.
fn offsets() -> impl Iterator<Item = u64> + Clone {
    let past = [1 << 32, 1 << 63, u64::MAX - 3, u64::MAX];
    (0..LONGEST + 3).chain(past)
}

/// The lengths that an access may have, odd ones, and one for all of the capability and more.
fn lengths() -> impl Iterator<Item = usize> + Clone {
    (0..=5).chain([8, 9, 26])
}

/// Zeros, ones, and bytes that are all different and begin with an enable bit.
fn values(len: usize) -> [Vec<u8>; 3] {
    let rising = (0..len).map(|at| 0x41 + at as u8);
    [vec![0; len], vec![0xff; len], rising.collect()]
}

/// What a driver writes from Message Control on: all vectors are granted and every other one is
/// masked. The message of the first vector is 0x60.
fn driven(log: u32, (wide, maskable, extended): (bool, bool, bool)) -> Step {
    let mut bytes = vec![1 | (log as u8) << 4, if extended { 4 } else { 0 }];
    bytes.extend(0xfee0_0000_u32.to_le_bytes());
    if wide {
        bytes.extend([0; 4]);
    }
    bytes.extend(0x60_u32.to_le_bytes());
    if maskable {
        bytes.extend([0xaa; 4]);
    }
    Step::Write(2, bytes)
}

/// Plays what follows for each layout, in three states: after a reset; driven with internal
/// vectors, with a new address that has no data yet; and driven with the first four exported.
fn each_layout(logs: &[u32], each: impl Fn(&[Step]) -> Vec<Vec<Step>>) {
    for (log, shape) in logs
        .iter()
        .flat_map(|log| SHAPES.map(|shape| (*log, shape)))
    {
        let moves = Step::Write(4, 0xfee0_1000_u32.to_le_bytes().to_vec());
        let state = [Step::Reset, driven(log, shape), moves];
        for (state, exported) in [(&state[..1], false), (&state, false), (&state[..2], true)] {
            for steps in each(state) {
                let exports = (0..1 << log).take(if exported { 4 } else { 0 });
                let exports = exports.map(Step::Export);
                play(log, shape, false, exports.chain(steps).collect());
            }
        }
    }
}

fn every_write_to(logs: &[u32]) -> u64 {
    let writes = Cell::new(0);
    each_layout(logs, |state| {
        let at_offset = |offset| {
            let mut steps = Vec::new();
            for value in lengths().flat_map(values) {
                steps.extend(state.iter().cloned());
                steps.extend([Step::Write(offset, value), Step::Trigger(0)]);
                writes.set(writes.get() + 1);
            }
            steps
        };
        offsets().map(at_offset).collect()
    });
    writes.get()
}

/// Each write follows a reset, and then the first vector is triggered.
#[test]
fn every_write() {
    assert_eq!(every_write_to(&[1, 5]), 40_176);
}

#[test]
#[ignore = "takes minutes, in release"]
fn every_write_to_any_number_of_vectors() {
    assert_eq!(every_write_to(&[0, 1, 2, 3, 4, 5]), 120_528);
}

#[test]
fn every_read() {
    let reads = Cell::new(0);
    each_layout(&[0, 1, 2, 3, 4, 5], |state| {
        let mut steps = state.to_vec();
        // Every other one is masked, and keeps it.
        steps.extend((0..4).map(Step::Trigger));
        for (offset, len) in offsets().flat_map(|at| lengths().map(move |len| (at, len))) {
            steps.push(Step::Read(offset, len));
            reads.set(reads.get() + 1);
        }
        vec![steps]
    });
    assert_eq!(reads.get(), 40_176);
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! All accesses to a table of three vectors, beside the model of the random histories: every
//! offset, every length and three values, in each of a few states.

use super::random::{Step, play};

const VECTORS: usize = 3;
/// The bytes of the table.
const END: u64 = 16 * VECTORS as u64;

/// Offsets in the table and behind it, and those from which an access would wrap around.
fn offsets(end: u64) -> impl Iterator<Item = u64> + Clone {
    let past = [1 << 32, 1 << 60, 1 << 63].into_iter();
    (0..end + 9).chain(past).chain(u64::MAX - 8..=u64::MAX)
}

/// The lengths of an access, and odd ones.
fn lengths() -> impl Iterator<Item = usize> + Clone {
    (0..=5).chain([7, 8, 9, 16])
}

/// Zeros, ones, and bytes that are all different.
fn values(len: usize) -> [Vec<u8>; 3] {
    let rising = (0..len).map(|at| 0x41 + at as u8 % 0x40);
    [vec![0; len], vec![0xff; len], rising.collect()]
}

/// Writes an entry: a message with this number, and whether it is masked.
fn program(n: usize, masked: bool) -> [Step; 2] {
    let at = 16 * n as u64;
    let data = u64::from(masked) << 32 | (0x50 + n as u64);
    [(at, 0xfee0_0000), (at + 8, data)].map(|(at, word)| Step::Write(at, word.to_le_bytes().into()))
}

/// What the guest has done before, with which vectors masked; and whether these are exported.
fn states() -> Vec<(Vec<Step>, bool)> {
    let state = |control, masked: [bool; VECTORS]| {
        let control = [Step::Control(control)].into_iter();
        let program = (0..VECTORS).flat_map(|n| program(n, masked[n]));
        // One that is masked keeps the trigger.
        control.chain(program).chain([Step::Trigger(1)]).collect()
    };
    vec![
        (Vec::new(), false),
        (state(0x8000, [true; VECTORS]), false),
        (state(0x8000, [false, true, false]), false),
        (state(0x8000, [false; VECTORS]), true),
        (state(0x8000, [false, true, false]), true),
        (state(0xc000, [false; VECTORS]), true),
    ]
}

fn exports(exported: bool) -> Vec<Step> {
    (0..VECTORS)
        .filter(|_| exported)
        .map(Step::Export)
        .collect()
}

/// Each write follows a reset, and then each vector is triggered.
#[test]
fn every_write() {
    let mut writes = 0;
    for (state, exported) in states() {
        for offset in offsets(END) {
            let mut steps = exports(exported);
            for value in lengths().flat_map(values) {
                steps.push(Step::Reset);
                steps.extend(state.iter().cloned());
                steps.push(Step::Write(offset, value));
                steps.extend((0..VECTORS).map(Step::Trigger));
                writes += 1;
            }
            play(VECTORS, false, false, steps);
        }
    }
    assert_eq!(writes, 12_420);
}

#[test]
fn every_read_of_the_table_and_of_the_pending_bits() {
    for (state, exported) in states() {
        let reads = |end| offsets(end).flat_map(|at| lengths().map(move |len| (at, len)));
        let table = reads(END).map(|(offset, len)| Step::Read(offset, len));
        let pba = reads(8).map(|(offset, len)| Step::Pba(offset, len));
        let before = exports(exported).into_iter().chain(state);
        let steps: Vec<_> = before.chain(table).chain(pba).collect();
        assert!(steps.len() > 900, "{}", steps.len());
        play(VECTORS, false, false, steps);
    }
}

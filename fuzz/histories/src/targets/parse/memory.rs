// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Counts what a parser allocates.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// What any text may take: errors, lists that grow.
const FLAT: u64 = 16 << 10;

/// For each byte of the text. The largest element of a saved form has 80 bytes, the shortest text
/// of one has 20, and a list that grows has its old and its new memory for a moment.
const FOR_EACH_BYTE: u64 = 16;

/// Runs a parser on a text of this length, and checks that its memory is bounded by it.
pub(super) fn bounded<T>(len: usize, parse: impl FnOnce() -> T) -> T {
    let mut result = None;
    let memory = allocation_counter::measure(|| {
        result = Some(catch_unwind(AssertUnwindSafe(parse)));
    });
    let result = result.expect("it has run");
    let result = result.unwrap_or_else(|panic| resume_unwind(panic));
    let limit = FLAT + FOR_EACH_BYTE * len as u64;
    let used = memory.bytes_max;
    assert!(
        used <= limit,
        "{len} bytes of text took {used} bytes of memory"
    );
    result
}

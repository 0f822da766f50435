// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Random`]: numbers that are the same for the same seed (SplitMix64).

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Any number of threads may draw.
#[derive(Debug)]
pub(super) struct Random(AtomicU64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut word = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    pub(super) fn below(&self, end: u32) -> u32 {
        u32::try_from(self.next() % u64::from(end)).unwrap()
    }

    pub(super) fn within(&self, range: Range<u32>) -> u32 {
        range.start + self.below(range.end - range.start)
    }

    /// True once in `one_in` times on average.
    pub(super) fn once_in(&self, times: u32) -> bool {
        self.below(times) == 0
    }

    /// A random index below the length; `None` if the length is 0.
    pub(super) fn index(&self, len: usize) -> Option<usize> {
        let len = u32::try_from(len).unwrap();
        (len > 0).then(|| self.below(len) as usize)
    }
}

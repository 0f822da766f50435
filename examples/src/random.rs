// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Random`]: reproducible random numbers.

/// Marsaglia's xorshift, with 64 bits.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The generator for one `stream` of a seed: each stream has different numbers.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let mixed = seed ^ stream.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = Self(mixed.max(1));
        // Similar seeds start with similar numbers, so the first ones are dropped.
        for _ in 0..8 {
            random.next();
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: u32) -> u32 {
        // The upper half of 32 bits times `limit` is below `limit`.
        let product = (self.next() >> 32) * u64::from(limit);
        (product >> 32) as u32
    }

    /// Returns true once in `one_in` times on average.
    pub fn chance(&mut self, one_in: u32) -> bool {
        self.below(one_in) == 0
    }
}

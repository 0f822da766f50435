// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Times: percentiles, and a histogram that a person can read.

use std::fmt;

use serde_json::json;

/// The width of the longest bar of a histogram.
const BAR: usize = 40;

/// A set of times in nanoseconds, in ascending order. All are kept, so a percentile is one of them.
#[derive(Debug)]
pub(crate) struct Latency(Vec<u64>);

impl Latency {
    pub(crate) fn new(nanoseconds: impl IntoIterator<Item = u64>) -> Self {
        let mut times: Vec<_> = nanoseconds.into_iter().collect();
        times.sort_unstable();
        Self(times)
    }

    /// The time that `percent` of all times do not exceed; 0 if there are none.
    pub(crate) fn percentile(&self, percent: usize) -> u64 {
        let rank = (self.0.len() * percent).div_ceil(100);
        let time = self.0.get(rank.saturating_sub(1));
        time.copied().unwrap_or(0)
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        json!({ "p50": self.percentile(50), "p99": self.percentile(99) })
    }
}

impl fmt::Display for Latency {
    /// One line for each doubling of the time that has times in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doublings = || self.0.chunk_by(|one, next| bits(*one) == bits(*next));
        let most = doublings().map(<[_]>::len).max().unwrap_or(1);
        for times in doublings() {
            let last = times.last().map_or(0, |time| bits(*time));
            let (below, count) = (1_u128 << last, times.len());
            let bar = "#".repeat((count * BAR).div_ceil(most));
            writeln!(f, "  below {below:>9} ns {count:>9} {bar}")?;
        }
        Ok(())
    }
}

/// How many bits the number has without leading zeros.
fn bits(number: u64) -> u32 {
    u64::BITS - number.leading_zeros()
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Times: percentiles, and a histogram that a person can read.

use std::fmt::{self, Write};

use hdrhistogram::Histogram;
use serde::Serialize;

/// The width of the longest bar of a histogram.
const BAR: u64 = 40;

/// A set of times in nanoseconds.
#[derive(Debug)]
pub(crate) struct Latency(Histogram<u64>);

/// What the JSON says of one.
#[derive(Debug, Serialize)]
pub(crate) struct Percentiles {
    p50: u64,
    p99: u64,
}

impl Latency {
    /// From samples, to three digits.
    pub(crate) fn new(
        nanoseconds: impl IntoIterator<Item = u64>,
    ) -> Result<Self, hdrhistogram::CreationError> {
        let mut histogram = Histogram::new(3)?;
        // It grows with what it is given, so that nothing is out of range.
        nanoseconds.into_iter().for_each(|time| histogram += time);
        Ok(Self(histogram))
    }

    pub(crate) fn quantile(&self, quantile: f64) -> u64 {
        self.0.value_at_quantile(quantile)
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        Percentiles {
            p50: self.quantile(0.5),
            p99: self.quantile(0.99),
        }
    }
}

impl fmt::Display for Latency {
    /// One line for each doubling of the time.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let buckets: Vec<_> = self
            .0
            .iter_log(256, 2.0)
            .map(|bucket| {
                (
                    bucket.value_iterated_to(),
                    bucket.count_since_last_iteration(),
                )
            })
            .collect();
        let most = buckets
            .iter()
            .map(|(_, count)| *count)
            .max()
            .unwrap_or(0)
            .max(1);
        let mut shown = buckets.iter().skip_while(|(_, count)| *count == 0);
        shown.try_for_each(|(to, count)| {
            write!(f, "  up to {:>9} ns {count:>9} ", to + 1)?;
            (0..(count * BAR).div_ceil(most)).try_for_each(|_| f.write_char('#'))?;
            f.write_char('\n')
        })
    }
}

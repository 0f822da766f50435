// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Two things measured in turn, so that what disturbs one disturbs the other.

use std::error::Error;
use std::time::Instant;

/// What a measured step may fail with.
pub(crate) type Step = Result<(), Box<dyn Error>>;

/// Runs one thing `batch` times in a row, then the other, for `rounds` rounds, and returns the
/// median time of one run of each. The two take turns in going first. The first round warms up.
pub(crate) fn alternate(
    rounds: u32,
    batch: u32,
    mut ours: impl FnMut() -> Step,
    mut other: impl FnMut() -> Step,
) -> Result<(f64, f64), Box<dyn Error>> {
    let mut times = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let (ours, other) = if round % 2 == 0 {
            let ours = timed(batch, &mut ours)?;
            (ours, timed(batch, &mut other)?)
        } else {
            let other = timed(batch, &mut other)?;
            (timed(batch, &mut ours)?, other)
        };
        if round > 0 {
            times.0.push(ours);
            times.1.push(other);
        }
    }
    Ok((median(times.0), median(times.1)))
}

/// Nanoseconds for one of `batch` runs.
pub(crate) fn timed(batch: u32, step: &mut impl FnMut() -> Step) -> Result<f64, Box<dyn Error>> {
    let start = Instant::now();
    (0..batch).try_for_each(|_| step())?;
    Ok(start.elapsed().as_secs_f64() * 1e9 / f64::from(batch))
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

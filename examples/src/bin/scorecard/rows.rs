// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which rows there are. They run guests and machines of x86, so elsewhere there are none.

use std::error::Error;

use crate::row::Row;
#[cfg(target_arch = "x86_64")]
use crate::{commit, doorbells, kick, notify, retire, sim};

/// What measures a row.
pub(crate) type Measure = fn() -> Result<Row, Box<dyn Error>>;

#[cfg(target_arch = "x86_64")]
pub(crate) const ROWS: &[(&str, Measure)] = &[
    ("a_a", notify::against_itself),
    ("notify", notify::against_write),
    ("kick", kick::against_exit),
    ("commit_one_of_4096", commit::one_of_4096),
    ("retire", retire::against_one_by_one),
    ("relocate_64", doorbells::relocate_64),
    ("apply_1000", doorbells::apply_1000),
    ("plan_1000_10", doorbells::plan_1000_10),
    ("fallback_match_1000", doorbells::fallback_match_1000),
    ("start_stop_64", doorbells::start_stop_64),
    ("sim_irqfd", sim::irqfd),
    ("sim_commit_4096", sim::commit_4096),
    ("sim_guest_write_1000", sim::guest_write_1000),
];

#[cfg(not(target_arch = "x86_64"))]
pub(crate) const ROWS: &[(&str, Measure)] = &[];

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|(name, _)| *name)
}

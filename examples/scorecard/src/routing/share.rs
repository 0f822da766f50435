// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Our own share of a commit, which must not grow with the table.

use std::error::Error;
use std::sync::Arc;

use super::nothing::Nothing;
use super::{retarget, routed};
use crate::measure::alternate;
use crate::row::Row;

const ROUNDS: u32 = 400;
const BATCH: u32 = 512;

/// A table of `routes` routes, against one of 64.
pub(crate) fn of(routes: u32) -> Result<Row, Box<dyn Error>> {
    let (_ours, ours) = routed(Arc::new(Nothing), routes)?;
    let (_other, other) = routed(Arc::new(Nothing), 64)?;
    let (ours, others) = alternate(ROUNDS, BATCH, retarget(&ours), retarget(&other))?;
    Ok(Row::times(
        "a table of 64",
        ours,
        others,
        "one route changed, on a VM that does nothing: our own work alone",
    ))
}

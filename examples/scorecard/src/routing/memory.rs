// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The memory of a full table, against a map from GSI to entry from which each commit builds a
//! table.

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;

use allocation_counter::measure;
use irq_routing::RoutingTable;

use super::nothing::Nothing;
use super::{leased, rebuild, route_all};
use crate::row::Row;

const ROUTES: u32 = 4096;

pub(crate) fn of_4096() -> Result<Row, Box<dyn Error>> {
    let mut table = None;
    let for_leases = bytes_each(|| {
        let new = RoutingTable::builder(Arc::new(Nothing)).reserved_gsis(0);
        table = new.build().ok().and_then(|table| {
            let leases = leased(&table, ROUTES).ok()?;
            Some((table, leases))
        });
    });
    let (table, leases) = table.ok_or("no table")?;
    let mut routed = Ok(());
    let for_routes = bytes_each(|| routed = route_all(&table, &leases));
    routed?;

    let mut map = None;
    let others = bytes_each(|| map = Some(rebuild::map(ROUTES)));
    black_box(map);
    Ok(Row::bytes(
        "a HashMap of entries",
        for_leases + for_routes,
        others,
        format!(
            "held for each of 4096: {for_leases:.1} for a lease, {for_routes:.1} more for its \
             route, 48 of them the kernel's entry; the other keeps no leases, and builds a table \
             for each commit"
        ),
    ))
}

/// The bytes that stay allocated, for each entry.
fn bytes_each(run: impl FnOnce()) -> f64 {
    measure(run).bytes_current as f64 / f64::from(ROUTES)
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Two thousand vectors brought up and taken down at once, against one by one.

use std::error::Error;
use std::time::Instant;

use irq_routing::RoutingTable;

use super::{VECTOR, leased, machine, message, route_all, routed};
use crate::measure::median;
use crate::row::Row;

const ROUTES: u32 = 2048;
const ROUNDS: u32 = 5;

pub(crate) fn bring_up() -> Result<Row, Box<dyn Error>> {
    compare(
        up,
        "one commit for each",
        "2048 GSIs leased and routed to messages by one transaction; most VMMs commit each",
    )
}

pub(crate) fn tear_down() -> Result<Row, Box<dyn Error>> {
    compare(
        down,
        "one commit for each",
        "2048 leases dropped, and one flush; the other removes each route by a commit",
    )
}

fn compare(
    run: fn(bool) -> Result<f64, Box<dyn Error>>,
    other: &'static str,
    note: &'static str,
) -> Result<Row, Box<dyn Error>> {
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        // One by one takes a thousand times as long, so the others are repeated.
        for _ in 0..ROUNDS {
            ours.push(run(true)?);
        }
        others.push(run(false)?);
    }
    Ok(Row::times(other, median(ours), median(others), note))
}

/// Nanoseconds on a new VM.
fn up(together: bool) -> Result<f64, Box<dyn Error>> {
    let (_vm_fd, vm) = machine()?;
    let table = RoutingTable::new(vm)?;
    let start = Instant::now();
    let leases = leased(&table, ROUTES)?;
    if together {
        route_all(&table, &leases)?;
    } else {
        for lease in &leases {
            lease.set_route(message(VECTOR))?;
        }
    }
    Ok(start.elapsed().as_secs_f64() * 1e9)
}

fn down(together: bool) -> Result<f64, Box<dyn Error>> {
    let (_vm_fd, vm) = machine()?;
    let (table, leases) = routed(vm, ROUTES)?;
    let start = Instant::now();
    if together {
        drop(leases);
        table.flush()?;
    } else {
        for lease in leases {
            let mut transaction = table.transaction();
            transaction.unroute(&lease);
            transaction.commit()?;
        }
    }
    Ok(start.elapsed().as_secs_f64() * 1e9)
}

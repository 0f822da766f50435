// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Changing one route of a full table, against the bare ioctl on a buffer that is ready.

use std::error::Error;

use notify_core::{MsiMessage, RouteBuffer, RouteEntry, RouteTarget, Vm};

use super::{ADDRESS, VECTOR, machine, retarget, routed};
use crate::measure::alternate;
use crate::row::Row;

const ROUTES: u32 = 4096;
const ROUNDS: u32 = 400;

pub(crate) fn of_4096() -> Result<Row, Box<dyn Error>> {
    let (_vm_fd, vm) = machine()?;
    let (_table, leases) = routed(vm.clone(), ROUTES)?;
    let (mut next, mut last) = (buffer(VECTOR), buffer(VECTOR ^ 1));
    let bare = || {
        std::mem::swap(&mut next, &mut last);
        Ok(vm.set_gsi_routing(&next)?)
    };
    let first = leases.get(..1).ok_or("no lease")?;
    let (ours, others) = alternate(ROUNDS, 1, retarget(first), bare)?;
    Ok(Row::times(
        "the bare ioctl",
        ours,
        others,
        "one route of 4096 changed by a transaction; the other's buffers are ready-made",
    ))
}

/// A full table in which the first message has this vector.
fn buffer(vector: u32) -> RouteBuffer {
    let entry = |gsi| {
        let target = RouteTarget::Msi(MsiMessage {
            address: u64::from(ADDRESS),
            data: if gsi == 0 { vector } else { VECTOR },
            devid: None,
        });
        RouteEntry::new(gsi, target)
    };
    (0..ROUTES).map(entry).collect()
}

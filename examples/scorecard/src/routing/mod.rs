// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The routing table: bringing devices up and down, changing one route, many threads at once,
//! memory.

pub(crate) mod batch;
pub(crate) mod dbs;
pub(crate) mod group;
pub(crate) mod memory;
mod nothing;
pub(crate) mod one;
pub(crate) mod rebuild;
pub(crate) mod share;

use std::error::Error;
use std::sync::Arc;

use irq_routing::{GsiLease, MsiMessage, RoutingTable, Wiring};
use kvm_ioctls::{Kvm, VmFd};
use notify_core::{KvmVm, Vm};

use crate::measure::Step;

const ADDRESS: u32 = 0xfee0_0000;
const VECTOR: u32 = 0x40;

/// A VM that never runs.
fn machine() -> Result<(VmFd, Arc<KvmVm>), Box<dyn Error>> {
    let vm_fd = Kvm::new()?.create_vm()?;
    vm_fd.create_irq_chip()?;
    let vm = Arc::new(KvmVm::try_from(&vm_fd)?);
    Ok((vm_fd, vm))
}

fn message(vector: u32) -> MsiMessage {
    MsiMessage::new(u64::from(ADDRESS), vector)
}

/// A table with `routes` leased GSIs, from 0 on, each routed to an MSI. It has no pins, so that
/// there may be 4096 of them.
fn routed(vm: Arc<dyn Vm>, routes: u32) -> Result<(RoutingTable, Vec<GsiLease>), Box<dyn Error>> {
    let wiring = Wiring::none(vm.platform()?.ok_or("an unknown platform")?);
    let builder = RoutingTable::builder(vm).wiring(wiring);
    let table = builder.reserved_gsis(0).build()?;
    let leases = leased(&table, routes)?;
    route_all(&table, &leases)?;
    Ok((table, leases))
}

fn leased(table: &RoutingTable, count: u32) -> Result<Vec<GsiLease>, irq_routing::Error> {
    (0..count).map(|_| table.lease()).collect()
}

/// Routes all leases with one transaction.
fn route_all(table: &RoutingTable, leases: &[GsiLease]) -> Step {
    let mut transaction = table.transaction();
    for lease in leases {
        transaction.route(lease, message(VECTOR));
    }
    Ok(transaction.commit()?)
}

/// Routes one lease after the other to another vector, so that each call changes the table.
fn retarget(leases: &[GsiLease]) -> impl FnMut() -> Step {
    let mut vector = VECTOR;
    let mut next = leases.iter().cycle();
    let first = leases.first().map(GsiLease::gsi);
    move || {
        let lease = next.next().ok_or("no lease")?;
        if Some(lease.gsi()) == first {
            vector ^= 1;
        }
        Ok(lease.set_route(message(vector))?)
    }
}

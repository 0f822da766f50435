// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Changing one route, against a table that is built anew for each commit, as Cloud Hypervisor and
//! Firecracker do.

use std::collections::HashMap;
use std::error::Error;

use kvm_bindings::{KVM_IRQ_ROUTING_MSI, KvmIrqRouting, kvm_irq_routing_entry};
use kvm_ioctls::VmFd;

use super::{ADDRESS, VECTOR, machine, retarget, routed};
use crate::measure::{Step, alternate};
use crate::row::Row;

const ROUNDS: u32 = 400;

/// Two VMs with the same number of routes each.
pub(crate) fn one_of(routes: u32) -> Result<Row, Box<dyn Error>> {
    let (_vm_fd, vm) = machine()?;
    let (_table, leases) = routed(vm, routes)?;
    let (other_fd, _) = machine()?;
    let mut map = map(routes);
    let (mut turn, mut vector) = (0, VECTOR);
    let other = || {
        if turn == 0 {
            vector ^= 1;
        }
        map.insert(turn, entry(turn, vector));
        turn = (turn + 1) % routes;
        commit(&other_fd, &map)
    };
    let (ours, others) = alternate(ROUNDS, 1, retarget(&leases), other)?;
    Ok(Row::times(
        "a table built from a HashMap",
        ours,
        others,
        "one route changed, the same number in both tables; the other as Cloud Hypervisor does it",
    ))
}

/// The state between commits.
pub(crate) fn map(routes: u32) -> HashMap<u32, kvm_irq_routing_entry> {
    (0..routes).map(|gsi| (gsi, entry(gsi, VECTOR))).collect()
}

fn commit(vm_fd: &VmFd, map: &HashMap<u32, kvm_irq_routing_entry>) -> Step {
    let entries: Vec<_> = map.values().copied().collect();
    let table = KvmIrqRouting::from_entries(&entries).map_err(|error| format!("{error:?}"))?;
    Ok(vm_fd.set_gsi_routing(&table)?)
}

fn entry(gsi: u32, vector: u32) -> kvm_irq_routing_entry {
    let mut entry = kvm_irq_routing_entry {
        gsi,
        type_: KVM_IRQ_ROUTING_MSI,
        ..kvm_irq_routing_entry::default()
    };
    entry.u.msi.address_lo = ADDRESS;
    entry.u.msi.data = vector;
    entry
}

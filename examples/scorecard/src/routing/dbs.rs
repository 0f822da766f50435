// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Changing one route, against the interrupt manager of Dragonball (`dbs-interrupt`).

use std::error::Error;
use std::sync::Arc;

use dbs_interrupt::{
    InterruptManager, InterruptSourceConfig, InterruptSourceGroup, InterruptSourceType,
    KvmIrqManager, MsiIrqSourceConfig,
};

use super::{ADDRESS, VECTOR, machine, retarget, routed};
use crate::measure::{Step, alternate};
use crate::row::Row;

const ROUNDS: u32 = 400;
/// The most routes that it takes for one device.
pub(crate) const GROUP: u32 = 256;

/// Two VMs with the same number of routes each. It takes at most 1024.
pub(crate) fn one_of(routes: u32) -> Result<Row, Box<dyn Error>> {
    let (_vm_fd, vm) = machine()?;
    let (_table, leases) = routed(vm, routes)?;
    let groups = groups(routes)?;
    let mut vector = VECTOR;
    let mut turn = 0;
    let other = || -> Step {
        let (group, index) = (turn / GROUP, turn % GROUP);
        if turn == 0 {
            vector ^= 1;
        }
        turn = (turn + 1) % routes;
        let group = groups.get(group as usize).ok_or("no group")?;
        Ok(group.update(index, &config(vector))?)
    };
    let (ours, others) = alternate(ROUNDS, 1, retarget(&leases), other)?;
    Ok(Row::times(
        "dbs-interrupt 0.2.2",
        ours,
        others,
        "one route changed, the same number in both tables, nothing armed",
    ))
}

pub(crate) type Group = Arc<Box<dyn InterruptSourceGroup>>;

/// Its routes, in a VM of the kvm-ioctls version that it uses. A group keeps the VM open.
pub(crate) fn groups(routes: u32) -> Result<Vec<Group>, Box<dyn Error>> {
    let vm_fd = Arc::new(kvm_ioctls_dbs::Kvm::new()?.create_vm()?);
    vm_fd.create_irq_chip()?;
    let manager = KvmIrqManager::new(vm_fd);
    let mut groups = Vec::new();
    for base in (0..routes).step_by(GROUP as usize) {
        let count = GROUP.min(routes - base);
        let group = manager.create_group(InterruptSourceType::MsiIrq, base, count)?;
        group.enable(&vec![config(VECTOR); count as usize])?;
        // Disarmed, as ours are: the kernel walks through all irqfds at each commit.
        (0..count).try_for_each(|index| group.mask(index))?;
        groups.push(group);
    }
    Ok(groups)
}

pub(crate) fn config(vector: u32) -> InterruptSourceConfig {
    InterruptSourceConfig::MsiIrq(MsiIrqSourceConfig {
        low_addr: ADDRESS,
        data: vector,
        ..MsiIrqSourceConfig::default()
    })
}

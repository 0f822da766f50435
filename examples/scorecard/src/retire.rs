// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Dropping two thousand guards and closing the VM, with and without `retire`.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use ioeventfd::{Datamatch, IoAddress, IoEventFd};
use irq_routing::{MsiMessage, RoutingTable};
use irqfd::IrqFd;
use kvm_ioctls::Kvm;
use notify_core::{KvmVm, Vm};

use crate::measure::median;
use crate::row::Row;

const GUARDS: u32 = 1024;
const ROUNDS: u32 = 9;

pub(crate) fn against_one_by_one() -> Result<Row, Box<dyn Error>> {
    let (mut ours, mut other) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(teardown(true)?);
        other.push(teardown(false)?);
    }
    Ok(Row::times(
        "guards undone one by one",
        median(ours),
        median(other),
        "1024 doorbells and 1024 irqfds dropped, and the VM closed",
    ))
}

/// Nanoseconds from the first drop until the VM is closed.
fn teardown(retire: bool) -> Result<f64, Box<dyn Error>> {
    let vm_fd = Kvm::new()?.create_vm()?;
    vm_fd.create_irq_chip()?;
    let vm = Arc::new(KvmVm::try_from(&vm_fd)?);
    let table = RoutingTable::new(vm.clone())?;
    let leases = (0..GUARDS)
        .map(|_| table.lease())
        .collect::<Result<Vec<_>, _>>()?;
    let mut transaction = table.transaction();
    for lease in &leases {
        transaction.route(lease, MsiMessage::new(0xfee0_0000, 0x40));
    }
    transaction.commit()?;
    let mut irqs = Vec::new();
    for lease in leases {
        irqs.push(IrqFd::builder(lease).assign()?);
    }
    let mut doorbells = Vec::new();
    for number in 0..GUARDS {
        let address = IoAddress::Mmio(0xd000_0000 + u64::from(number) * 4);
        doorbells.push(IoEventFd::builder(vm.clone(), address, Datamatch::U32(1)).assign()?);
    }

    let start = Instant::now();
    if retire {
        vm.retire();
    }
    drop((irqs, doorbells));
    drop((table, vm, vm_fd));
    Ok(start.elapsed().as_secs_f64() * 1e9)
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Changing one route of a full table, against the bare ioctl on a buffer that is ready.

use std::error::Error;
use std::sync::Arc;

use irq_routing::{GsiLease, MsiMessage, RoutingTable};
use kvm_ioctls::Kvm;
use notify_core::{KvmVm, RouteBuffer, RouteEntry, RouteTarget, Vm};

use crate::measure::alternate;
use crate::row::Row;

const ROUTES: u32 = 4096;
const ROUNDS: u32 = 400;

pub(crate) fn one_of_4096() -> Result<Row, Box<dyn Error>> {
    let vm_fd = Kvm::new()?.create_vm()?;
    vm_fd.create_irq_chip()?;
    let vm = Arc::new(KvmVm::try_from(&vm_fd)?);
    let table = RoutingTable::builder(vm.clone()).reserved_gsis(0).build()?;
    let leases: Vec<GsiLease> = (0..ROUTES)
        .map(|_| table.lease())
        .collect::<Result<_, _>>()?;
    let mut transaction = table.transaction();
    for lease in &leases {
        transaction.route(lease, message(0x40));
    }
    transaction.commit()?;

    let (first, mut vector) = (leases.first().ok_or("no lease")?, 0x40);
    let ours = || {
        vector ^= 1;
        let mut transaction = table.transaction();
        transaction.route(first, message(vector));
        Ok(transaction.commit()?)
    };
    let (mut next, mut last) = (buffer(0x40), buffer(0x41));
    let bare = || {
        std::mem::swap(&mut next, &mut last);
        Ok(vm.set_gsi_routing(&next)?)
    };
    let (ours_ns, other_ns) = alternate(ROUNDS, 1, ours, bare)?;
    Ok(Row::times(
        "the bare ioctl",
        ours_ns,
        other_ns,
        "one route of 4096 changed by a transaction; the other's buffers are ready-made",
    ))
}

fn message(vector: u32) -> MsiMessage {
    MsiMessage::new(0xfee0_0000, vector)
}

/// A full table in which the first message has this vector.
fn buffer(vector: u32) -> RouteBuffer {
    let entry = |gsi| {
        let target = RouteTarget::Msi {
            address: 0xfee0_0000,
            data: if gsi == 0 { vector } else { 0x40 },
            devid: None,
        };
        RouteEntry::new(gsi, target)
    };
    (0..ROUTES).map(entry).collect()
}

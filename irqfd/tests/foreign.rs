// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Guards and handles of another VM: they are refused, or act on their own VM.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use irq_routing::{Line, MsiMessage, RoutingTable};
use irqfd::{ArmQueue, EoiExits, LevelError, LevelLine, ResumeBatch, Vector, VectorError};
use irqfd::{msi, msix};
use notify_sim::{Profile, SimVm};

fn machine() -> (Arc<SimVm>, RoutingTable) {
    let vm = SimVm::builder().profile(Profile::X86Split { pins: 24 });
    let vm = Arc::new(vm.build());
    vm.enable_lapic(0);
    let table = RoutingTable::new(vm.clone()).unwrap();
    (vm, table)
}

fn message(vector: u32) -> MsiMessage {
    MsiMessage::new(0xfee0_0000, vector)
}

#[test]
fn a_queue_is_refused() {
    let ((_, table), (_, other)) = (machine(), machine());
    let queue = ArmQueue::new(&other).unwrap();
    let refused = |error: VectorError| assert_eq!(error, VectorError::OtherTable);
    refused(Vector::builder(&table).queue(&queue).build().unwrap_err());
    refused(
        msix::Table::builder(&table)
            .queue(&queue)
            .build()
            .unwrap_err(),
    );
    refused(
        msi::Capability::builder(&table)
            .queue(&queue)
            .build()
            .unwrap_err(),
    );
}

#[test]
fn a_lease_is_refused_and_comes_back() {
    let ((_, table), (_, other)) = (machine(), machine());
    let vector = Vector::builder(&table).build().unwrap();
    let device = msix::Table::builder(&table).build().unwrap();
    let capability = msi::Capability::builder(&table).build().unwrap();
    let lease = other.lease().unwrap();
    let gsi = lease.gsi();
    let rejected = vector.set_lease(lease).unwrap_err();
    assert_eq!(rejected.error, VectorError::OtherTable);
    let rejected = device.set_lease(0, rejected.value).unwrap_err();
    assert_eq!(rejected.error, VectorError::OtherTable);
    let rejected = capability.set_lease(0, rejected.value).unwrap_err();
    assert_eq!(rejected.error, VectorError::OtherTable);
    assert_eq!((rejected.value.gsi(), other.leased()), (gsi, 1));
}

fn line(table: &RoutingTable, gsi: u32) -> Line {
    let lease = table.lease_exact(gsi).unwrap();
    lease.set_route(MsiMessage::default()).unwrap();
    lease.into_line().unwrap()
}

/// Otherwise an exit of one VM would end the service of a line in the other.
#[test]
fn eoi_exits_are_refused_as_long_as_their_vm_is_there() {
    let ((vm, table), (_, other)) = (machine(), machine());
    let exits = EoiExits::default();
    let first = LevelLine::builder(line(&table, 10)).eoi_exits(&exits);
    let first = first.build().unwrap();
    let second = LevelLine::builder(line(&other, 10)).eoi_exits(&exits);
    let rejected = second.build().unwrap_err();
    assert!(matches!(rejected.error, LevelError::OtherVm { gsi, .. } if gsi.number() == 10));
    let third = LevelLine::builder(line(&table, 11)).eoi_exits(&exits);
    drop(third.build().unwrap());

    drop((first, table, vm));
    let again = LevelLine::builder(rejected.value).eoi_exits(&exits);
    drop(again.build().unwrap());
}

#[test]
fn a_batch_resumes_each_vector_in_its_own_vm() {
    let machines = [machine(), machine()];
    let vectors = [0x40, 0x41].map(|vector| {
        let (_, table) = &machines[vector as usize - 0x40];
        let new = Vector::builder(table).private_irqfd(true).build().unwrap();
        new.set_message(message(vector)).unwrap();
        new.pause();
        new.unmask().unwrap();
        new.trigger().unwrap();
        new
    });
    let mut batch = ResumeBatch::default();
    vectors
        .iter()
        .for_each(|vector| vector.resume_in(&mut batch));
    assert!(batch.run().is_empty());
    let pending = machines.each_ref().map(|(vm, _)| vm.pending_vectors(0));
    assert_eq!(pending, [vec![0x40], vec![0x41]]);
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A VM has one routing table as long as any guard of this crate lives.

use std::sync::Arc;

use irq_routing::{Error, RoutingTable};
use irqfd::{ArmQueue, IrqFd, LevelLine, Vector};
use notify_sim::SimVm;

use super::message;

/// Takes a guard of a table, whose handle is dropped then.
#[track_caller]
fn holds<T>(guard: impl FnOnce(&RoutingTable) -> T) {
    let vm = Arc::new(SimVm::builder().build());
    let table = RoutingTable::new(vm.clone()).unwrap();
    let guard = guard(&table);
    drop(table);
    let second = RoutingTable::new(vm.clone());
    assert!(matches!(second, Err(Error::SecondTable)), "{second:?}");
    drop(guard);
    RoutingTable::new(vm).unwrap();
}

#[test]
fn each_guard_holds_the_claim() {
    let irqfd = |table: &RoutingTable| {
        let lease = table.lease_msi(message(1)).unwrap();
        IrqFd::builder(lease).assign().unwrap()
    };
    let level = |table: &RoutingTable| {
        let line = table.line(10).unwrap();
        LevelLine::builder(line).build().unwrap()
    };
    holds(irqfd);
    holds(|table| irqfd(table).deassign().unwrap());
    holds(ArmQueue::new);
    holds(|table| Vector::builder(table).build().unwrap());
    holds(|table| Vector::builder(table).build().unwrap().handle().clone());
    holds(level);
    holds(|table| level(table).join().unwrap());
}

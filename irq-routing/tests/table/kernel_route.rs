// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The table's knowledge of the kernel's entries.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use irq_routing::{IrqChip, KernelRoute, MsiMessage, Platform, Route, RoutingTable, Wiring};
use kvm_test::Recorder;

use crate::{message, pin, table};

#[test]
fn a_route_is_there_from_its_commit_until_the_one_after_its_lease() {
    let (_, table) = table();
    let gsi = table.gsi(24).unwrap();
    assert_eq!(table.kernel_route(gsi), KernelRoute::Unknown);
    table.recommit().unwrap();
    assert_eq!(table.kernel_route(gsi), KernelRoute::Unrouted);

    let lease = table.lease().unwrap();
    assert_eq!((lease.gsi(), lease.route()), (gsi, None));
    assert_eq!(table.kernel_route(gsi), KernelRoute::Unrouted);
    lease.set_route(message(1)).unwrap();
    let routed = KernelRoute::Routed(Route::Msi(message(1)));
    assert_eq!(table.kernel_route(gsi), routed);

    let parked = lease.park();
    assert_eq!(table.kernel_route(gsi), routed);
    drop(parked);
    assert_eq!(table.kernel_route(gsi), KernelRoute::Stale);
    table.flush().unwrap();
    assert_eq!(table.kernel_route(gsi), KernelRoute::Unrouted);
}

#[test]
fn a_blocked_message_has_no_entry_and_pins_have() {
    let vm = Arc::new(Recorder::default());
    vm.has(Platform::X86);
    let builder = RoutingTable::builder(vm).wiring(Wiring::pc());
    let block = |message: MsiMessage| (message.data < 1000).then_some(message);
    let table = builder.translate(block).build().unwrap();
    let lease = table.lease_msi(message(1000)).unwrap();
    assert_eq!(table.kernel_route(lease.gsi()), KernelRoute::Blocked);
    lease.set_route(message(1)).unwrap();
    let routed = KernelRoute::Routed(Route::Msi(message(1)));
    assert_eq!(table.kernel_route(lease.gsi()), routed);

    let last = pin(IrqChip::IoApic, 23);
    let pins = KernelRoute::Routed(Route::from(last));
    assert_eq!(table.kernel_route(table.gsi(23).unwrap()), pins);
}

#[test]
fn after_a_panic_of_the_vm_nothing_is_known() {
    let (vm, table) = table();
    let lease = table.lease_msi(message(1)).unwrap();
    vm.on_routes(|_| panic!("a bug of the VM"));
    let commit = || lease.set_route(message(2));
    assert!(catch_unwind(AssertUnwindSafe(commit)).is_err());
    assert_eq!(table.kernel_route(lease.gsi()), KernelRoute::Unknown);
    vm.on_routes(|_| Ok(()));
    table.recommit().unwrap();
    let routed = KernelRoute::Routed(Route::Msi(message(1)));
    assert_eq!(table.kernel_route(lease.gsi()), routed);
}

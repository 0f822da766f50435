// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The texts of errors: the rule or the errno, the numbers, and what to do, all in one text.

use std::error::Error as _;
use std::sync::Arc;

use irq_routing::{Error, IrqChip, Pins, Platform, RestoreError, RoutingTable, Wiring};
use kvm_test::{Recorder, os_text};

use crate::{EINVAL, message, pin, table};

#[track_caller]
fn expect(error: &Error, text: &str, errno: Option<i32>) {
    assert_eq!(error.to_string(), text);
    assert_eq!(error.raw_os_error(), errno);
    assert!(error.source().is_none(), "the text has it already");
    assert_eq!(error.clone(), *error);
}

#[test]
fn a_gsi_without_a_route() {
    let (_, table) = table();
    let error = table.lease().unwrap().into_line().unwrap_err().error;
    let text = "GSI 24 has no route: route its lease first, or wire it \
                (RoutingTableBuilder::wiring, Transaction::wire)";
    expect(&error, text, None);
    assert_eq!(error, table.line(24).unwrap_err());
    assert_ne!(error, table.line(25).unwrap_err());
}

#[test]
fn a_refusal_of_the_kernel() {
    let (vm, table) = table();
    vm.fail_after(0, EINVAL);
    let error = table.lease_msi(message(1)).unwrap_err();
    let text = "the kernel refused the routing table with a new route of GSI 24; check \
                messages and pins: Invalid argument (os error 22)";
    expect(&error, text, Some(EINVAL));

    vm.fail_after(0, 12);
    let error = table.lease_msi(message(1)).unwrap_err();
    let refused = "the kernel refused the routing table with a new route of GSI 24";
    let text = format!("{refused}; try again later: {}", os_text(12));
    expect(&error, &text, Some(12));
}

#[test]
fn a_split_irqchip() {
    let vm = Arc::new(Recorder::default());
    vm.has(Platform::X86Split);
    let builder = RoutingTable::builder(vm.clone()).wiring(Wiring::pc());
    let table = builder.build().unwrap();
    vm.fail_after(0, EINVAL);
    let text = "the table has pins of another platform (x86 irqchip) than the VM's (x86 split \
                irqchip): build it with Wiring::none(Platform::X86Split) \
                (RoutingTableBuilder::wiring): Invalid argument (os error 22)";
    expect(&table.recommit().unwrap_err(), text, Some(EINVAL));

    drop(table);
    let table = RoutingTable::new(vm).unwrap();
    let mut transaction = table.transaction();
    let pins = Pins::from(pin(IrqChip::IoApic, 4));
    transaction.wire(table.gsi(4).unwrap(), pins);
    let text = "GSI 4 cannot be routed to the IOAPIC: the kernel has none for the VM (x86 split \
                irqchip); the pins of a split irqchip are in the VMM, so route messages instead";
    expect(&transaction.commit().unwrap_err().error, text, None);
}

#[test]
fn a_snapshot_that_the_kernel_refuses() {
    let (_, table) = table();
    let _lease = table.lease_msi(message(1)).unwrap();
    let snapshot = table.snapshot();
    let (vm, other) = crate::table();
    vm.fail_after(0, EINVAL);
    let error = other.restore(&snapshot).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the table refuses the snapshot: the kernel refused the routing table with a new route of \
         GSI 24; check messages and pins: Invalid argument (os error 22)"
    );
    assert!(matches!(error, RestoreError::Refused { .. }));
    assert_eq!(error.raw_os_error(), Some(EINVAL));
    assert!(error.source().is_none());
}

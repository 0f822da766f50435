// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The VM's own wiring, and the order of its entries.

use std::sync::Arc;

use irq_routing::{Error, IrqChip, Pins, Platform, RoutingTable, Wiring};
use kvm_test::Recorder;

use crate::{committed, message, pin, route, table};

#[test]
fn wiring_is_shared_and_stays_while_somebody_has_a_share() {
    let (vm, table) = table();
    let four = table.gsi(4).unwrap();
    assert!(matches!(table.line(4), Err(Error::NoRoute { .. })));
    let mut transaction = table.transaction();
    transaction.wire(four, pin(IrqChip::IoApic, 4));
    transaction.commit().unwrap();
    let (one, other) = (table.line(4).unwrap(), table.line(4).unwrap());
    assert!(one.lease().is_none());
    assert!(matches!(table.lease_exact(4), Err(Error::GsiInUse { .. })));

    let unwire = || {
        let mut transaction = table.transaction();
        transaction.unwire(four);
        transaction.commit()
    };
    assert!(matches!(
        unwire().unwrap_err().error,
        Error::RouteHeld { .. }
    ));
    drop(one);
    assert!(unwire().is_err());
    drop(other);
    vm.take();
    unwire().unwrap();
    assert_eq!(committed(&vm), [Vec::<u32>::new()]);

    let line = table.lease_exact(5).unwrap();
    line.set_route(message(1)).unwrap();
    line.into_line().unwrap().quarantine();
    assert!(matches!(table.line(5), Err(Error::GsiInUse { .. })));
    assert!(matches!(table.lease_exact(5), Err(Error::GsiInUse { .. })));
    let mut transaction = table.transaction();
    transaction.wire(table.gsi(5).unwrap(), pin(IrqChip::IoApic, 5));
    assert!(matches!(
        transaction.commit().unwrap_err().error,
        Error::GsiInUse { .. }
    ));

    let lease = table.lease_exact(4).unwrap();
    let mut transaction = table.transaction();
    transaction.wire(four, pin(IrqChip::IoApic, 4));
    assert!(matches!(
        transaction.commit().unwrap_err().error,
        Error::GsiInUse { .. }
    ));
    assert!(matches!(table.line(4), Err(Error::GsiInUse { .. })));
    drop(lease);
}

#[test]
fn a_share_in_quarantine_keeps_the_wiring_shared_and_in_place() {
    let (_, table) = table();
    let four = table.gsi(4).unwrap();
    let mut transaction = table.transaction();
    transaction.wire(four, pin(IrqChip::IoApic, 4));
    transaction.commit().unwrap();
    table.line(4).unwrap().quarantine();
    drop(table.line(4).unwrap());
    let mut transaction = table.transaction();
    transaction.unwire(four);
    assert!(matches!(
        transaction.commit().unwrap_err().error,
        Error::RouteHeld { .. }
    ));
}

#[test]
fn pins_stand_in_front_by_chip_and_gsi_whatever_came_first() {
    let (vm, table) = table();
    let msi = table.lease_msi(message(1)).unwrap();
    let both = |n| Pins::new([pin(IrqChip::IoApic, n), pin(IrqChip::PicMaster, n)]).unwrap();
    for number in [3, 1] {
        let mut transaction = table.transaction();
        transaction.wire(table.gsi(number).unwrap(), both(number));
        transaction.commit().unwrap();
    }
    assert_eq!(committed(&vm)[2], [1, 3, 1, 3, 24]);
    let mut transaction = table.transaction();
    transaction.wire(table.gsi(3).unwrap(), pin(IrqChip::IoApic, 7));
    transaction.commit().unwrap();
    assert_eq!(committed(&vm), [vec![1, 1, 3, 24]]);

    // A leased GSI may be routed to a pin, and then elsewhere.
    let mut transaction = table.transaction();
    transaction.route(&msi, pin(IrqChip::PicSlave, 0));
    transaction.commit().unwrap();
    assert_eq!(committed(&vm), [vec![1, 24, 1, 3]]);
    route(&table, &msi, 5);
    assert_eq!(committed(&vm), [vec![1, 1, 3, 24]]);
}

#[test]
fn pins_of_another_platform_are_refused() {
    let (_, table) = table();
    let lease = table.lease().unwrap();
    let mut transaction = table.transaction();
    transaction.route(&lease, pin(IrqChip::Gic, 100));
    let error = transaction.commit().unwrap_err();
    assert_eq!(
        error.to_string(),
        "GSI 24 cannot be routed to the GIC: the kernel has none for the VM (x86 irqchip)"
    );
    let split = RoutingTable::builder(Arc::new(Recorder::default()))
        .wiring(Wiring::none(Platform::X86Split))
        .reserved_gsis(64)
        .build()
        .unwrap();
    let lease = split.lease().unwrap();
    assert_eq!(lease.gsi().number(), 64);
    let mut transaction = split.transaction();
    transaction.route(&lease, pin(IrqChip::IoApic, 3));
    assert!(matches!(
        transaction.commit().unwrap_err().error,
        Error::NoSuchChip { .. }
    ));
}

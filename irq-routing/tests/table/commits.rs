// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The ioctls of a transaction, and the state after a refusal.

use irq_routing::{Error, IrqChip, Route};
use kvm_test::Call;
use notify_core::{MsiMessage, RouteEntry, RouteTarget};

use crate::{EINVAL, committed, message, pin, route, table};

#[test]
fn every_kind_of_route_is_given_to_the_kernel_as_it_is() {
    let (vm, table) = table();
    let from_device = message(5).with_devid(8);
    assert_eq!(from_device.devid, Some(8));
    for (route, target) in [
        (
            Route::Msi(from_device),
            RouteTarget::Msi(MsiMessage {
                address: 0xfee0_0000,
                data: 5,
                devid: Some(8),
            }),
        ),
        (
            Route::HvSint { vcpu: 3, sint: 4 },
            RouteTarget::HvSint { vcpu: 3, sint: 4 },
        ),
        (
            Route::XenEvtchn {
                port: 7,
                vcpu: 8,
                priority: 9,
            },
            RouteTarget::XenEvtchn {
                port: 7,
                vcpu: 8,
                priority: 9,
            },
        ),
        (
            Route::from(pin(IrqChip::PicSlave, 6)),
            RouteTarget::Pin { chip: 1, pin: 6 },
        ),
    ] {
        let lease = table.lease().unwrap();
        lease.set_route(route).unwrap();
        let calls = vm.take();
        assert_eq!(calls, [Call::Routes(vec![RouteEntry::new(24, target)])]);
        assert_eq!(lease.route(), Some(route));
    }
}

#[test]
fn the_last_edit_of_a_gsi_counts() {
    let (vm, table) = table();
    let line = table.lease_msi(message(1)).unwrap().into_line().unwrap();
    let lease = line.lease().unwrap();
    vm.take();
    let mut transaction = table.transaction();
    transaction.unroute(lease).route(lease, message(2));
    transaction.commit().unwrap();
    assert_eq!(lease.route(), Some(Route::Msi(message(2))));
    assert_eq!(vm.take().len(), 1);
    let mut transaction = table.transaction();
    transaction
        .route(lease, message(9))
        .route(lease, message(2));
    transaction.commit().unwrap();
    assert!(vm.take().is_empty(), "nothing changed in the end");
    let mut transaction = table.transaction();
    transaction.route(lease, message(3)).unroute(lease);
    assert!(matches!(
        transaction.commit().unwrap_err().error,
        Error::RouteHeld { .. }
    ));
}

#[test]
fn the_first_commit_always_issues_and_a_vain_one_never() {
    let (vm, table) = table();
    table.transaction().commit().unwrap();
    assert_eq!(
        committed(&vm),
        [Vec::<u32>::new()],
        "the kernel's default is replaced"
    );
    table.transaction().commit().unwrap();
    let lease = table.lease().unwrap();
    route(&table, &lease, 1);
    assert_eq!(committed(&vm), [vec![24]]);
    route(&table, &lease, 1);
    assert!(vm.take().is_empty(), "nothing changed");
    table.recommit().unwrap();
    assert_eq!(committed(&vm), [vec![24]]);
}

#[test]
fn a_transaction_is_one_ioctl_and_a_dropped_one_none() {
    let (vm, table) = table();
    let leases: Vec<_> = (0..64).map(|_| table.lease().unwrap()).collect();
    let mut transaction = table.transaction();
    for lease in &leases {
        transaction.route(lease, message(1));
    }
    assert_eq!(leases[0].route(), None);
    transaction.commit().unwrap();
    assert_eq!(committed(&vm), [(24..88).collect::<Vec<_>>()]);
    assert_eq!(leases[0].route(), Some(Route::Msi(message(1))));

    table.transaction().route(&leases[0], message(2));
    assert_eq!(leases[0].route(), Some(Route::Msi(message(1))));
    assert!(vm.take().is_empty());
}

#[test]
fn a_refused_commit_leaves_everything_and_spoils_nobody() {
    let (vm, table) = table();
    let (one, two) = (
        table.lease_msi(message(1)).unwrap(),
        table.lease_msi(message(2)).unwrap(),
    );
    drop(table.lease_msi(message(3)).unwrap());
    vm.take();

    vm.fail_after(0, EINVAL);
    let mut transaction = table.transaction();
    transaction.unroute(&one).route(&two, message(9));
    transaction.wire(table.gsi(4).unwrap(), pin(IrqChip::IoApic, 4));
    let rejected = transaction.commit().unwrap_err();
    assert_eq!(
        rejected.to_string(),
        "the kernel refused the routing table with 3 new routes, the first of GSI 24; check \
         messages and pins: Invalid argument (os error 22)"
    );
    assert_eq!(one.route(), Some(Route::Msi(message(1))));
    assert_eq!(two.route(), Some(Route::Msi(message(2))));
    assert_eq!(table.route(table.gsi(4).unwrap()), None);
    vm.take();

    table.transaction().commit().unwrap();
    assert!(vm.take().is_empty(), "what the kernel has is still known");
    let other = table.lease_msi(message(4)).unwrap();
    // The order of messages does not matter to the kernel.
    let sorted = |vm| {
        let mut tables = committed(vm);
        tables.iter_mut().for_each(|table| table.sort_unstable());
        tables
    };
    assert_eq!(sorted(&vm), [[24, 25, 26]], "as if it had never been");
    rejected.value.commit().unwrap();
    assert_eq!(one.route(), None);
    assert_eq!(sorted(&vm), [[4, 25, 26]]);
    drop(other);
}

#[test]
fn a_refused_first_commit_leaves_the_table_unknown() {
    let (vm, table) = table();
    vm.fail_after(0, EINVAL);
    assert!(table.transaction().commit().is_err());
    table.transaction().commit().unwrap();
    assert_eq!(vm.take().len(), 2);
}

#[test]
fn a_route_stays_while_a_line_holds_it() {
    let (_, table) = table();
    let line = table.lease_msi(message(1)).unwrap().into_line().unwrap();
    let lease = line.lease().unwrap();
    let mut transaction = table.transaction();
    transaction.unroute(lease);
    let rejected = transaction.commit().unwrap_err();
    assert!(matches!(rejected.error, Error::RouteHeld { gsi, .. } if gsi == line.gsi()));
    route(&table, lease, 2);

    let lease = line.into_lease().unwrap();
    rejected.value.commit().unwrap();
    assert_eq!(lease.route(), None);
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Snapshots of tables without a commit, and their restore.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use irq_routing::{Error, Platform, RestoreError, RoutingTable, Snapshot, Wiring};

use crate::message;
use crate::start_faults::{Told, early, sizes};

/// Of a table without the pins of GSI 9 to 11: a message instead, a lease without a route, nothing.
fn snapshot() -> Snapshot {
    let source = RoutingTable::new(Arc::new(Told::default())).unwrap();
    let mut transaction = source.transaction();
    for gsi in [9, 10, 11] {
        transaction.unwire(source.gsi(gsi).unwrap());
    }
    transaction.commit().unwrap();
    let low = source.lease_exact(9).unwrap().named("low");
    low.set_route(message(7)).unwrap();
    let _unrouted = source.lease_exact(10).unwrap().named("unrouted");
    source.snapshot()
}

#[test]
fn a_restore_at_which_the_vm_panics_keeps_the_pins() {
    let (vm, table) = early();
    let snapshot = snapshot();
    vm.vm.on_routes(|_| panic!("a bug of the VM"));
    let restore = AssertUnwindSafe(|| table.restore(&snapshot));
    assert!(catch_unwind(restore).is_err());
    assert_eq!((table.routes().len(), table.leased()), (24, 0));
    vm.vm.on_routes(|_| Ok(()));
    vm.vm.take();
    // It is still empty.
    table.restore(&snapshot).unwrap();
    assert_eq!(sizes(&vm.vm), [34 + 1]);
    assert_eq!(table.claim(10).unwrap().route(), None);
}

#[test]
fn a_restore_that_fails_keeps_the_pins() {
    let (vm, table) = early();
    let (snapshot, pristine) = (snapshot(), table.snapshot());
    let lease = table.lease().unwrap();
    let error = table.restore(&snapshot).unwrap_err();
    assert!(matches!(error, RestoreError::NotEmpty), "{error}");
    drop(lease);
    vm.vm.fail_after(0, crate::EINVAL);
    let error = table.restore(&snapshot).unwrap_err();
    assert!(matches!(error, RestoreError::Refused { .. }), "{error}");
    assert_eq!((table.routes().len(), table.leased()), (24, 0));
    assert_eq!(table.unclaimed(), []);
    assert_eq!(table.snapshot(), pristine);
    let mut transaction = table.transaction();
    transaction.unwire(table.gsi(9).unwrap());
    transaction.commit().unwrap();
    assert_eq!(sizes(&vm.vm), [35, 38]);
    assert_eq!(table.lease_exact(9).unwrap().name(), None);
    // Now it contains the committed routes, which are only pins.
    let error = table.restore(&snapshot).unwrap_err();
    assert!(matches!(error, RestoreError::NotEmpty), "{error}");
}

#[test]
fn a_snapshot_before_the_first_commit_has_what_the_vm_has() {
    let (_, source) = early();
    let snapshot = source.snapshot();
    let (vm, table) = early();
    table.restore(&snapshot).unwrap();
    assert_eq!(table.routes().len(), 24);
    assert_eq!(sizes(&vm.vm), [40]);
}

#[test]
fn a_snapshot_asks_the_vm_without_the_lock() {
    let (vm, table) = early();
    let handle = Arc::new(table.clone());
    let looks: Weak<RoutingTable> = Arc::downgrade(&handle);
    vm.ask(move || {
        let (done, is_done) = channel();
        let table = looks.upgrade().unwrap();
        thread::spawn(move || done.send(table.leased()));
        let looked = is_done.recv_timeout(Duration::from_secs(20));
        assert!(looked.is_ok(), "the table is locked");
        Ok(None)
    });
    let _ = table.snapshot();
    assert_eq!(table.platform(), Platform::default());
    assert!(table.line(4).is_err());
    assert!(table.recommit().is_err());
    assert!(table.restore(&snapshot()).is_err());
}

#[test]
fn a_snapshot_of_another_platform_changes_nothing() {
    let split = RoutingTable::builder(Arc::new(Told::default()))
        .wiring(Wiring::none(Platform::X86Split))
        .build()
        .unwrap()
        .snapshot();
    let (vm, table) = early();
    let error = table.restore(&split).unwrap_err();
    assert!(
        matches!(
            error,
            RestoreError::Platform {
                found: Platform::X86Split,
                wanted: Platform::X86,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(table.routes(), []);
    // Before there is an irqchip this is the error, for any snapshot.
    vm.ask(|| Ok(None));
    let error = table.restore(&split).unwrap_err();
    assert!(
        matches!(
            error,
            RestoreError::Refused {
                cause: Error::NoIrqChip { .. },
                ..
            }
        ),
        "{error}"
    );
    vm.ask(|| Ok(Some(Platform::X86Split)));
    table.restore(&split).unwrap();
    assert_eq!(sizes(&vm.vm), [0]);
}

/// A line is taken before its commit, which is still in the kernel.
#[test]
fn a_line_of_the_start_is_in_use_before_its_commit_has_ended() {
    let (vm, table) = early();
    let (other, snapshot) = (table.clone(), snapshot());
    vm.vm.on_routes(move |_| {
        let (done, is_done) = channel();
        let (table, snapshot) = (other.clone(), snapshot.clone());
        thread::spawn(move || done.send(table.restore(&snapshot)));
        let restored = is_done.recv_timeout(Duration::from_secs(20));
        assert!(matches!(restored, Ok(Err(RestoreError::NotEmpty))));
        Ok(())
    });
    let line = table.line(9).unwrap();
    vm.vm.on_routes(|_| Ok(()));
    drop(line);
}

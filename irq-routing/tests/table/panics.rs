// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A machine with a bug.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use irq_routing::{IrqChip, Route};

use crate::{message, pin, table};

#[test]
fn a_machine_that_panics_in_a_commit_spoils_nothing() {
    let (vm, table) = table();
    let armed = Arc::new(AtomicBool::new(false));
    let arm = |value| armed.store(value, Ordering::Relaxed);
    let bug = Arc::clone(&armed);
    vm.on_routes(move |_| {
        assert!(!bug.load(Ordering::Relaxed), "a bug of the machine");
        Ok(())
    });
    let [changed, removed, added] = [1, 2, 3].map(|data| table.lease_msi(message(data)).unwrap());
    let mut transaction = table.transaction();
    transaction.unroute(&added);
    transaction.commit().unwrap();
    vm.take();
    table.recommit().unwrap();
    let before = vm.take();

    let panicking = || {
        arm(true);
        let mut transaction = table.transaction();
        transaction.route(&changed, message(7)).unroute(&removed);
        transaction.route(&added, message(8));
        transaction.wire(table.gsi(4).unwrap(), pin(IrqChip::IoApic, 4));
        let commit = std::panic::AssertUnwindSafe(|| transaction.commit());
        assert!(std::panic::catch_unwind(commit).is_err());
        arm(false);
        vm.take();
    };
    panicking();
    assert_eq!(changed.route(), Some(Route::Msi(message(1))));
    assert_eq!(added.route(), None);
    table.transaction().commit().unwrap();
    assert_eq!(vm.take(), before, "what the kernel has was not known");
    table.transaction().commit().unwrap();
    assert!(vm.take().is_empty(), "now it is");

    panicking();
    table.flush().unwrap();
    assert_eq!(vm.take(), before, "a flush makes good, too");
    table.flush().unwrap();
    assert!(vm.take().is_empty());
}

#[test]
fn a_gsi_that_a_panicking_commit_was_about_to_change_can_be_leased() {
    let (vm, table) = table();
    vm.on_routes(|_| panic!("a bug of the machine"));
    let mut transaction = table.transaction();
    transaction.wire(table.gsi(4).unwrap(), pin(IrqChip::IoApic, 4));
    let commit = std::panic::AssertUnwindSafe(|| transaction.commit());
    assert!(std::panic::catch_unwind(commit).is_err());
    vm.on_routes(|_| Ok(()));
    table.lease_exact(4).unwrap().set_route(message(1)).unwrap();
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A VM has one table.

use std::sync::{Arc, Weak};

use irq_routing::{Armed, Error, Registration, RoutingTable, Wiring};
use notify_core::{Extension, RoutingClaim, Vm};

use crate::message;
use crate::start_faults::Told;

fn is_taken(vm: &Arc<Told>) -> bool {
    match RoutingTable::new(vm.clone()) {
        Ok(_) => false,
        Err(Error::SecondTable) => true,
        Err(error) => panic!("{error}"),
    }
}

struct Off;

impl Armed for Off {
    fn disarm(&self) -> bool {
        true
    }
    fn rearm(&self) {}
}

/// Takes a guard of a table, whose handle is dropped then.
#[track_caller]
fn holds<T>(guard: impl FnOnce(&RoutingTable) -> T) {
    let vm = Arc::new(Told::default());
    let table = RoutingTable::new(vm.clone()).unwrap();
    let guard = guard(&table);
    drop(table);
    assert!(is_taken(&vm));
    drop(guard);
    assert!(!is_taken(&vm));
}

#[test]
fn each_guard_holds_the_claim() {
    holds(RoutingTable::clone);
    holds(|table| table.lease().unwrap());
    holds(|table| table.lease_msi(message(1)).unwrap());
    holds(|table| table.lease().unwrap().park());
    holds(|table| table.line(4).unwrap());
    holds(|table| table.line(4).unwrap().drive().unwrap());
    holds(RoutingTable::transaction);
    holds(|table| {
        let mut transaction = table.transaction();
        transaction.unwire(table.gsi(24).unwrap());
        table.line(4).unwrap().register(Weak::<Off>::new()).0
    });
    holds(|table| -> Registration {
        let lease = table.lease_msi(message(1)).unwrap();
        let (line, registration, _) = lease.into_registered_line(Weak::<Off>::new()).unwrap();
        drop(line);
        registration
    });
}

#[test]
fn a_second_table_does_not_take_the_claim_from_the_first() {
    let vm = Arc::new(Told::default());
    let table = RoutingTable::new(vm.clone()).unwrap();
    assert!(is_taken(&vm));
    assert!(is_taken(&vm), "the refused one has released nothing");
    drop(table);
    assert!(!is_taken(&vm));
}

#[test]
fn a_table_that_cannot_be_built_leaves_no_claim() {
    let vm = Arc::new(Told::default());
    vm.vm.answer(Extension::IrqRouting, 0);
    let error = RoutingTable::new(vm.clone()).unwrap_err();
    assert!(matches!(error, Error::NoRoutingTable));
    vm.vm.answer(Extension::IrqRouting, 512);
    let builder = RoutingTable::builder(vm.clone()).wiring(Wiring::aia(1023).unwrap());
    assert!(matches!(builder.build(), Err(Error::GsiOutOfRange { .. })));
    assert!(!is_taken(&vm));
}

/// A VM without a claim when the table is built must not lose that of a later table.
#[test]
fn a_claim_is_released_by_the_table_that_has_taken_it() {
    let vm = Arc::new(Told::default());
    vm.hide_claim(true);
    let first = RoutingTable::new(vm.clone()).unwrap();
    vm.hide_claim(false);
    assert!(vm.routing_claim().is_some_and(RoutingClaim::take));
    drop(first);
    assert!(!vm.routing_claim().is_some_and(RoutingClaim::take));
}

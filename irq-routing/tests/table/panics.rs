// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A machine with a bug.

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use irq_routing::{GsiLease, IrqChip, MsiMessage, Route, RoutingTable};
use kvm_test::{Call, Recorder};
use notify_core::RouteTarget;

use crate::crowd::Gate;
use crate::{EINVAL, committed, message, pin, table};

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
        let commit = AssertUnwindSafe(|| transaction.commit());
        assert!(catch_unwind(commit).is_err());
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

    panicking();
    table.retranslate().unwrap();
    assert_eq!(vm.take(), before, "and so does a new translation");
}

#[test]
fn a_gsi_that_a_panicking_commit_was_about_to_change_can_be_leased() {
    let (vm, table) = table();
    vm.on_routes(|_| panic!("a bug of the machine"));
    let mut transaction = table.transaction();
    transaction.wire(table.gsi(4).unwrap(), pin(IrqChip::IoApic, 4));
    let commit = AssertUnwindSafe(|| transaction.commit());
    assert!(catch_unwind(commit).is_err());
    vm.on_routes(|_| Ok(()));
    table.lease_exact(4).unwrap().set_route(message(1)).unwrap();
}

#[test]
fn a_translation_that_panics_has_not_touched_the_kernel() {
    let vm = Arc::new(Recorder::default());
    let builder = RoutingTable::builder(vm.clone()).translate(|_| panic!("a bug"));
    let table = builder.build().unwrap();
    let lease = table.lease().unwrap();
    let commit = AssertUnwindSafe(|| lease.set_route(message(1)));
    assert!(catch_unwind(commit).is_err());
    table.flush().unwrap();
    table.retranslate().unwrap();
    assert!(vm.take().is_empty(), "its default table is left alone");
    table.transaction().commit().unwrap();
    assert_eq!(committed(&vm), [vec![]]);
}

/// Two commits go together after a first one, and the machine panics in the table of this number.
/// Answers whether each has come to its end, and what the table and the kernel have for it.
fn two_together(panics: u32) -> [(bool, u32); 2] {
    let (vm, table) = table();
    let leases = [1; 3].map(|data| table.lease_msi(message(data)).unwrap());
    let tables = AtomicU32::new(0);
    let gate = Gate::new(&vm, move |_| {
        match (tables.fetch_add(1, Ordering::Relaxed), panics) {
            (number, _) if number == panics => panic!("a bug of the machine"),
            (1, _) => Err(io::Error::from_raw_os_error(EINVAL)),
            _ => Ok(()),
        }
    });
    let commit = |lease: &GsiLease| {
        let mut transaction = table.transaction();
        transaction.route(lease, message(2));
        let commit = AssertUnwindSafe(move || transaction.commit().unwrap());
        move || catch_unwind(commit).is_ok()
    };
    let others = leases[1..].iter().map(commit).collect();
    let (first, ended) = gate.crowd(commit(&leases[0]), others, || {});
    assert!(first.unwrap());

    vm.take();
    table.recommit().unwrap();
    let Some(Call::Routes(given)) = vm.take().pop() else {
        panic!("recommit always issues");
    };
    let data = |place: usize| {
        let RouteTarget::Msi { data, .. } = given[place].target else {
            panic!("{given:?}");
        };
        assert_eq!(leases[place].route(), Some(Route::Msi(message(data))));
        data
    };
    [(ended[0], data(1)), (ended[1], data(2))]
}

#[test]
fn what_the_panicking_leader_had_of_others_is_carried_out_by_them() {
    let mut result = two_together(1);
    result.sort_unstable();
    assert_eq!(result, [(false, 1), (true, 2)]);
}

#[test]
fn a_machine_that_panics_among_halves_keeps_what_was_carried_out() {
    // After the two together have been refused, the first one, and then in the panic the second.
    match two_together(3) {
        [(false, 2), (true, 2)] | [(true, 2), (false, 1)] => {}
        other => panic!("{other:?}"),
    }
}

thread_local! {
    static RETRANSLATES: Cell<bool> = const { Cell::new(false) };
}

/// One asks for new translations, another leads that round and panics in it, a lease is dropped
/// meanwhile. Answers whether it came about so: who leads is the scheduler's choice.
fn a_round_for_another_panics() -> bool {
    let vm = Arc::new(Recorder::default());
    let dropped: Arc<Mutex<Option<GsiLease>>> = Arc::default();
    let (armed, drop_it) = (Arc::new(AtomicBool::new(false)), Arc::clone(&dropped));
    let bug = Arc::clone(&armed);
    let translate = move |message: MsiMessage| {
        let here = !RETRANSLATES.get() && message.data == 7;
        if here && bug.swap(false, Ordering::Relaxed) {
            drop(drop_it.lock().unwrap().take());
            panic!("a bug of the translation");
        }
        Some(message)
    };
    let builder = RoutingTable::builder(vm.clone()).translate(translate);
    let table = builder.build().unwrap();
    *dropped.lock().unwrap() = Some(table.lease_msi(message(1)).unwrap());
    let kept = table.lease_msi(message(7)).unwrap();
    let leases: Vec<_> = (0..4).map(|_| table.lease().unwrap()).collect();
    armed.store(true, Ordering::Relaxed);

    let gate = Gate::new(&vm, |_| Ok(()));
    let commit = |lease: &GsiLease| -> Box<dyn FnOnce() -> bool + Send> {
        let mut transaction = table.transaction();
        transaction.route(lease, message(2));
        let commit = AssertUnwindSafe(move || transaction.commit().unwrap());
        Box::new(move || catch_unwind(commit).is_ok())
    };
    let retranslate: Box<dyn FnOnce() -> bool + Send> = Box::new(|| {
        RETRANSLATES.set(true);
        table.retranslate().is_ok()
    });
    let others = std::iter::once(retranslate).chain(leases[1..].iter().map(commit));
    let (first, others) = gate.crowd(commit(&leases[0]), others.collect(), || {});
    assert!(first.unwrap() && others[0]);

    vm.take();
    table.recommit().unwrap();
    let routes = table.routes();
    let mut gsis = committed(&vm).pop().unwrap();
    gsis.sort_unstable();
    let routed: Vec<_> = routes.iter().map(|(gsi, _)| gsi.number()).collect();
    assert_eq!(gsis, routed, "the kernel has what the table has");
    drop(kept);
    others.contains(&false)
}

#[test]
fn a_new_translation_starts_afresh_after_a_panic_of_another_leader() {
    let came_about = (0..1000).any(|_| a_round_for_another_panics());
    assert!(came_about, "somebody else leads now and then");
}

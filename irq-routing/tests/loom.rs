// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Three callers that commit at once, in every order that their threads can take.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release -p irq-routing --features loom --test loom`
#![cfg(loom)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::io;
use std::sync::{Arc, Mutex};

use irq_routing::{Error, GsiLease, MsiMessage, Route, RoutingTable};
use kvm_test::{Call, Recorder};
use loom::thread;
use notify_core::{RouteEntry, RouteTarget};

/// The data of a message that the kernel refuses.
const GUILTY: u32 = 666;

fn message(data: u32) -> MsiMessage {
    MsiMessage::new(0xfee0_0000, data)
}

fn data(entry: &RouteEntry) -> Option<u32> {
    match entry.target {
        RouteTarget::Msi { data, .. } => Some(data),
        _ => None,
    }
}

/// A machine that refuses the guilty, and the last table that it took.
fn machine() -> (Arc<Recorder>, Arc<Mutex<Vec<RouteEntry>>>) {
    let (vm, kernel) = (Arc::new(Recorder::default()), Arc::default());
    let taken: Arc<Mutex<_>> = Arc::clone(&kernel);
    vm.on_routes(move |entries| {
        if entries.iter().any(|entry| data(entry) == Some(GUILTY)) {
            return Err(io::Error::from_raw_os_error(22));
        }
        *taken.lock().unwrap() = entries.to_vec();
        Ok(())
    });
    (vm, kernel)
}

/// Explores every order in which threads are interrupted at most four times.
fn explore(run: impl Fn() + Send + Sync + 'static) {
    let mut explorer = loom::model::Builder::new();
    explorer.preemption_bound = Some(4);
    explorer.check(run);
}

fn commit(table: &RoutingTable, lease: &GsiLease, data: u32) -> Result<(), Error> {
    let mut transaction = table.transaction();
    transaction.route(lease, message(data));
    Ok(transaction.commit()?)
}

/// What the kernel has for these GSIs.
fn in_kernel(kernel: &Mutex<Vec<RouteEntry>>, leases: &[GsiLease]) -> Vec<Option<u32>> {
    let kernel = kernel.lock().unwrap();
    let of = |lease: &GsiLease| {
        let gsi = lease.gsi().number();
        kernel.iter().find(|entry| entry.gsi == gsi).and_then(data)
    };
    leases.iter().map(of).collect()
}

#[test]
fn of_three_callers_the_refused_one_alone_fails() {
    explore(|| {
        let (vm, kernel) = machine();
        let table = RoutingTable::new(vm.clone()).unwrap();
        let callers: Vec<_> = [GUILTY, 2]
            .into_iter()
            .map(|data| {
                let (table, lease) = (table.clone(), table.lease().unwrap());
                thread::spawn(move || (commit(&table, &lease, data), lease))
            })
            .collect();
        let mine = table.lease().unwrap();
        commit(&table, &mine, 3).unwrap();
        let mut callers = callers.into_iter().map(|caller| caller.join().unwrap());
        let (guilty, one) = callers.next().unwrap();
        let (innocent, two) = callers.next().unwrap();
        assert!(
            matches!(guilty, Err(Error::Refused { edits: 1, first, .. }) if first == Some(one.gsi()))
        );
        innocent.unwrap();

        let leases = [one, two, mine];
        assert_eq!(in_kernel(&kernel, &leases), [None, Some(2), Some(3)]);
        let routes = leases.each_ref().map(|lease| lease.route());
        let routed = |data| Some(Route::Msi(message(data)));
        assert_eq!(routes, [None, routed(2), routed(3)]);
        let tables = vm.take().len();
        assert!((2..=5).contains(&tables), "{tables} tables");
    });
}

#[test]
fn a_lease_is_dropped_while_others_commit() {
    explore(|| {
        let (vm, kernel) = machine();
        let table = RoutingTable::new(vm.clone()).unwrap();
        let dropped = table.lease_msi(message(1)).unwrap();
        let kept = table.lease().unwrap();
        let mut transaction = table.transaction();
        transaction.route(&dropped, message(2));
        let committer = thread::spawn(move || transaction.commit().map_err(Error::from));
        let dropper = thread::spawn(move || drop(dropped));
        commit(&table, &kept, 3).unwrap();
        let committed = committer.join().unwrap();
        dropper.join().unwrap();
        assert!(matches!(committed, Ok(()) | Err(Error::NotLeased { .. })));

        assert_eq!(table.leased(), 1);
        assert_eq!(table.routes().len(), 1);
        let again = table.lease().unwrap();
        assert_eq!(again.route(), None);
        table.flush().unwrap();
        let leases = [again, kept];
        assert_eq!(in_kernel(&kernel, &leases), [None, Some(3)]);
    });
}

#[test]
fn an_owner_comes_for_its_lease_before_the_restore_has_ended() {
    explore(|| {
        let table = || RoutingTable::new(Arc::new(Recorder::default())).unwrap();
        let old = table();
        let saved = old.lease_msi(message(1)).unwrap();
        let snapshot = old.snapshot();
        let table = table();
        let claim = table.clone();
        let owner = thread::spawn(move || claim.claim(saved.gsi().number()));
        table.restore(&snapshot).unwrap();
        match owner.join().unwrap() {
            Ok(lease) => {
                assert_eq!(lease.route(), Some(Route::Msi(message(1))));
                assert_ne!(table.lease().unwrap().gsi(), lease.gsi());
                assert_eq!(table.unclaimed(), []);
            }
            Err(Error::NothingToClaim { gsi }) => assert_eq!(table.unclaimed(), [gsi]),
            Err(error) => unreachable!("{error}"),
        }
    });
}

#[test]
fn whoever_takes_hold_of_a_route_keeps_it() {
    explore(|| {
        let (vm, kernel) = machine();
        let table = RoutingTable::new(vm.clone()).unwrap();
        let lease = table.lease_msi(message(1)).unwrap();
        let mut transaction = table.transaction();
        transaction.unroute(&lease);
        let remover = thread::spawn(move || transaction.commit().map_err(Error::from));
        let held = lease.into_line();
        let removed = remover.join().unwrap();
        match (held, removed) {
            (Ok(line), Err(Error::RouteHeld { .. })) => assert!(line.lease().is_some()),
            (Err(rejected), Ok(())) => assert!(matches!(rejected.error, Error::NoRoute { .. })),
            other => unreachable!("{other:?}"),
        }
        let calls = vm.take();
        let last = calls.last().unwrap();
        assert!(matches!(last, Call::Routes(entries) if *entries == *kernel.lock().unwrap()));
    });
}

#[test]
fn a_dropped_line_lets_go_before_another_has_its_gsi() {
    explore(|| {
        let table = RoutingTable::new(Arc::new(Recorder::default())).unwrap();
        let old = table.lease_msi(message(1)).unwrap().into_line().unwrap();
        let dropper = thread::spawn(move || drop(old));
        let new = table.lease_msi(message(2)).unwrap().into_line().unwrap();
        dropper.join().unwrap();
        let mut transaction = table.transaction();
        transaction.unroute(new.lease().unwrap());
        let rejected = transaction.commit().unwrap_err();
        assert!(matches!(rejected.error, Error::RouteHeld { .. }));
    });
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A steady state of retargeting and of leasing allocates nothing.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use allocation_counter::measure;
use irq_routing::{MsiMessage, ParkedLease, RoutingTable};
use kvm_test::Nothing;

#[test]
fn a_warm_table_allocates_nothing() {
    let table = RoutingTable::new(Arc::new(Nothing)).unwrap();
    let leases: Vec<_> = std::iter::from_fn(|| table.lease().ok()).collect();
    let mut transaction = table.transaction();
    for lease in &leases {
        transaction.route(lease, MsiMessage::new(0xfee0_0000, 1));
    }
    transaction.commit().unwrap();
    let mut leases = leases;

    let mut round = |data| {
        let mut transaction = table.transaction();
        for lease in leases.iter().take(8) {
            transaction.route(lease, MsiMessage::new(0xfee0_0000, data));
        }
        transaction.commit().unwrap();
        drop(leases.pop());
        leases.push(table.lease_msi(MsiMessage::new(0xfee0_1000, data)).unwrap());
        drop(leases.swap_remove(0));
        leases.push(table.lease_msi(MsiMessage::new(0xfee0_2000, data)).unwrap());
    };
    round(2);
    let counted = measure(|| (3..100).for_each(&mut round));
    assert_eq!(counted.count_total, 0);

    let witness = measure(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(witness.count_total, 1, "the counter counts");
}

#[test]
fn a_large_commit_takes_its_memory_at_once() {
    const EDITS: usize = 1000;
    let table = RoutingTable::new(Arc::new(Nothing)).unwrap();
    let mut leases = Vec::with_capacity(EDITS);
    let leased = measure(|| leases.extend((0..EDITS).map(|_| table.lease().unwrap())));
    assert_eq!(leased.count_total, 0);
    let mut transaction = table.transaction();
    for lease in &leases {
        transaction.route(lease, MsiMessage::new(0xfee0_0000, 1));
    }
    let committed = measure(|| transaction.commit().unwrap());
    // Half as many as if the entries and their undo grew one by one; the rest is their places.
    assert!(committed.count_total < 20, "{committed:?}");
}

#[test]
fn a_large_transaction_leaves_nothing_but_its_routes() {
    const ROUTES: i64 = 4096;
    let table = RoutingTable::builder(Arc::new(Nothing)).reserved_gsis(0);
    let table = table.build().unwrap();
    let leases: Vec<_> = std::iter::from_fn(|| table.lease().ok()).collect();
    let route_all = || {
        let mut transaction = table.transaction();
        for lease in &leases {
            transaction.route(lease, MsiMessage::new(0xfee0_0000, 1));
        }
        transaction.commit().unwrap();
    };
    let kept = measure(route_all).bytes_current;
    // The kernel's entry, in a vector that doubles, and its place.
    assert!(kept < ROUTES * (64 + 8 + 8), "{kept} bytes");
    assert!(kept > ROUTES * 48);
}

#[test]
fn parking_allocates_nothing() {
    let table = RoutingTable::new(Arc::new(Nothing)).unwrap();
    let message = MsiMessage::new(0xfee0_0000, 1);
    let mut leases: Vec<_> = (0..500)
        .map(|_| Some(table.lease_msi(message).unwrap()))
        .collect();
    let mut parked: Vec<_> = (0..500).map(|_| None).collect();
    let mut step = |number: usize| {
        let place = number * 7 % 500;
        match leases[place].take() {
            Some(lease) => parked[place] = Some(lease.park()),
            None => leases[place] = parked[place].take().and_then(ParkedLease::unpark),
        }
    };
    (0..5000).for_each(&mut step);
    let counted = measure(|| (0..5000).for_each(&mut step));
    assert_eq!(counted.count_total, 0);
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A callback that is registered for translations, and the error of a lease that is not free.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use irq_routing::RoutingTable;
use notify_sim::SimVm;

fn table() -> RoutingTable {
    let vm = Arc::new(SimVm::builder().build());
    RoutingTable::builder(vm).translate(Some).build().unwrap()
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("what the callback holds panics when it is dropped");
    }
}

/// Invariant 3: `Drop` of a guard never panics.
#[test]
fn a_registration_never_panics_when_it_is_dropped() {
    let table = table();
    let bomb = Bomb;
    let registration = table.on_retranslate(move || {
        let _ = &bomb;
    });
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(registration)));
    assert!(dropped.is_ok(), "the drop of a Registration has panicked");
}

/// What it holds may use the table when it is dropped: a lease, for instance.
#[test]
fn what_a_callback_holds_may_use_the_table_when_it_is_dropped() {
    let table = table();
    let lease = table.lease().unwrap();
    let registration = table.on_retranslate(move || {
        let _ = &lease;
    });
    assert_eq!(table.leased(), 1);
    assert_eq!(format!("{registration:?}"), "Registration { .. }");
    drop(registration);
    assert_eq!(table.leased(), 0);
}

/// The error of `lease_if_free` counts, and names no holder.
#[test]
fn the_error_of_a_lease_if_free_counts() {
    let table = table();
    let all: Vec<_> = std::iter::from_fn(|| table.lease_if_free().ok()).collect();
    let error = table.lease_if_free().unwrap_err();
    let irq_routing::Error::Exhausted {
        wanted,
        leased,
        limit,
        holders,
        ..
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!((wanted, leased, limit), (1, all.len(), 4096));
    assert!(holders.is_empty());
}

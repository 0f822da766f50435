// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Parked leases that their holders want back while the table needs them.

use std::sync::{Arc, Mutex};

use irq_routing::{Error, GsiLease, IrqChip, Pin, Pins, Platform, Route, RoutingTable, Wiring};
use loom::thread;
use notify_core::{Extension, RouteEntry};

use crate::{commit, explore, in_kernel, machine, message};

/// A table of so many GSIs, of which none is reserved.
fn table(gsis: u32) -> (RoutingTable, Arc<Mutex<Vec<RouteEntry>>>) {
    let (vm, kernel) = machine();
    vm.answer(Extension::IrqRouting, gsis);
    let builder = RoutingTable::builder(vm).wiring(Wiring::none(Platform::X86));
    (builder.reserved_gsis(0).build().unwrap(), kernel)
}

/// Three GSIs and three entries: GSI 2 has two of them, GSI 0 the third, and GSI 1 needs one.
fn full() -> (RoutingTable, Arc<Mutex<Vec<RouteEntry>>>, [GsiLease; 2]) {
    let (table, kernel) = table(3);
    let pins = [IrqChip::PicMaster, IrqChip::IoApic].map(|chip| Pin::new(chip, 4).unwrap());
    let mut transaction = table.transaction();
    transaction.wire(table.gsi(2).unwrap(), Pins::new(pins).unwrap());
    transaction.commit().unwrap();
    let routed = table.lease_msi(message(1)).unwrap();
    let other = table.lease().unwrap();
    (table, kernel, [routed, other])
}

fn is_routed(lease: &GsiLease, data: u32) -> bool {
    lease.route() == Some(Route::Msi(message(data)))
}

#[test]
fn a_parked_lease_has_one_holder_when_another_one_needs_its_number() {
    explore(|| {
        let (table, kernel) = table(1);
        let parked = table.lease_msi(message(1)).unwrap().park();
        let other = table.clone();
        let other = thread::spawn(move || other.lease_if_free().ok());
        let mine = parked.unpark();
        let theirs = other.join().unwrap();
        assert_eq!(table.leased(), 1);
        table.flush().unwrap();
        match (mine, theirs) {
            (Some(lease), None) => {
                assert!(is_routed(&lease, 1));
                assert_eq!(in_kernel(&kernel, &[lease]), [Some(1)]);
            }
            (None, Some(lease)) => {
                assert_eq!(lease.route(), None);
                assert_eq!(in_kernel(&kernel, &[lease]), [None]);
            }
            both => unreachable!("{both:?}"),
        }
    });
}

#[test]
fn a_lease_is_parked_and_wanted_back_while_a_commit_needs_its_entry() {
    explore(|| {
        let (table, kernel, [lease, other]) = full();
        let committer = table.clone();
        let committer = thread::spawn(move || (commit(&committer, &other, 2), other));
        let mine = lease.park().unpark();
        let (committed, other) = committer.join().unwrap();
        match (&mine, committed) {
            (Some(lease), Err(Error::TableFull { .. })) => assert!(is_routed(lease, 1)),
            (None, Ok(())) => assert!(is_routed(&other, 2)),
            both => unreachable!("{both:?}"),
        }
        let expected = match mine {
            Some(_) => [Some(1), None],
            None => [None, Some(2)],
        };
        let lease = mine.unwrap_or_else(|| table.lease_exact(0).unwrap());
        table.flush().unwrap();
        assert_eq!(in_kernel(&kernel, &[lease, other]), expected);
    });
}

/// A commit of the parked lease itself is under way, and another caller needs its number: it waits
/// for the commit.
#[test]
fn a_parked_lease_is_committed_while_another_one_needs_its_number() {
    explore(|| {
        let (table, kernel) = table(1);
        let lease = table.lease_msi(message(1)).unwrap();
        let mut transaction = table.transaction();
        transaction.route(&lease, message(2));
        let committer = thread::spawn(move || transaction.commit().map_err(Error::from));
        let parked = lease.park();
        let theirs = table.lease_if_free().unwrap();
        let committed = committer.join().unwrap();
        assert!(matches!(committed, Ok(()) | Err(Error::NotLeased { .. })));
        assert!(parked.unpark().is_none());
        assert_eq!(theirs.route(), None);
        table.flush().unwrap();
        assert_eq!(in_kernel(&kernel, &[theirs]), [None]);
        assert_eq!(table.leased(), 0);
    });
}

/// One lease is enough for a caller that needs its number and one that needs its entry.
#[test]
fn number_and_entry_of_a_parked_lease_are_needed_at_once() {
    explore(|| {
        let (table, kernel, [lease, other]) = full();
        let parked = lease.park();
        let committer = table.clone();
        let committer = thread::spawn(move || (commit(&committer, &other, 2), other));
        let new = table.lease_if_free().unwrap();
        let (committed, other) = committer.join().unwrap();
        committed.unwrap();
        assert!(parked.unpark().is_none());
        assert_eq!((new.gsi().number(), new.route()), (0, None));
        assert_eq!(in_kernel(&kernel, &[new, other]), [None, Some(2)]);
    });
}

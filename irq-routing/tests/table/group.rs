// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Commits that go to the kernel together, and concurrent calls.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use irq_routing::{Error, GsiLease, IrqChip, Line, Pins, RestoreError, Route, RoutingTable};
use notify_core::{RouteEntry, RouteTarget};

use crate::crowd::Gate;
use crate::{EINVAL, committed, message, pin, table};

/// The data of a message that the kernel refuses.
const GUILTY: u32 = 666;

fn refuse_the_guilty(entries: &[RouteEntry]) -> io::Result<()> {
    let guilty = |entry: &RouteEntry| match entry.target {
        RouteTarget::Msi(message) => message.data == GUILTY,
        _ => false,
    };
    match entries.iter().any(guilty) {
        true => Err(io::Error::from_raw_os_error(EINVAL)),
        false => Ok(()),
    }
}

type Commit = Box<dyn FnOnce() -> Result<(), Error> + Send>;

fn retarget(lease: &GsiLease, data: u32) -> Commit {
    let mut transaction = lease.table().transaction();
    transaction.route(lease, message(data));
    Box::new(move || Ok(transaction.commit()?))
}

fn leases<const N: usize>(table: &RoutingTable) -> [GsiLease; N] {
    std::array::from_fn(|_| table.lease_msi(message(1)).unwrap())
}

#[track_caller]
fn expect_message(lease: &GsiLease, data: u32) {
    assert_eq!(lease.route(), Some(Route::Msi(message(data))));
}

#[test]
fn commits_that_wait_go_together() {
    let (vm, table) = table();
    let leases: [_; 9] = leases(&table);
    vm.take();
    let gate = Gate::new(&vm, |_| Ok(()));
    let others = leases[1..].iter().map(|lease| retarget(lease, 3)).collect();
    let (first, others) = gate.crowd(retarget(&leases[0], 2), others, || {
        expect_message(&leases[0], 1);
    });
    first.unwrap().unwrap();
    others.into_iter().for_each(|result| result.unwrap());
    assert_eq!(vm.take().len(), 2, "nine commits");
    expect_message(&leases[0], 2);
    leases[1..]
        .iter()
        .for_each(|lease| expect_message(lease, 3));
}

#[test]
fn of_those_that_go_together_the_guilty_alone_fails() {
    for guilty in 0..8 {
        let (vm, table) = table();
        let leases: [_; 9] = leases(&table);
        vm.take();
        let gate = Gate::new(&vm, refuse_the_guilty);
        let data = |place| if place == guilty { GUILTY } else { 3 };
        let others = leases[1..].iter().enumerate();
        let others = others.map(|(place, lease)| retarget(lease, data(place)));
        let (first, results) = gate.crowd(retarget(&leases[0], 2), others.collect(), || {});
        first.unwrap().unwrap();
        for (place, (result, lease)) in results.into_iter().zip(&leases[1..]).enumerate() {
            if place == guilty {
                let error = result.unwrap_err();
                let own = Some(lease.gsi());
                assert!(
                    matches!(error, Error::Refused { edits: 1, first, .. } if first == own),
                    "{error}"
                );
                expect_message(lease, 1);
            } else {
                result.unwrap();
                expect_message(lease, 3);
            }
        }
        // One for the first; then eight, four and four, two and two, one and one.
        assert_eq!(vm.take().len(), 8);
        leases[1].set_route(message(9)).unwrap();
    }
}

#[test]
fn a_full_table_refuses_the_one_that_is_too_much() {
    let (vm, table) = table();
    let leases: Vec<_> = std::iter::from_fn(|| table.lease().ok()).collect();
    let mut transaction = table.transaction();
    leases[2..].iter().for_each(|lease| {
        transaction.route(lease, message(1));
    });
    transaction.commit().unwrap();
    let wire = |chip: IrqChip, numbers: Range<u32>| -> Commit {
        let mut transaction = table.transaction();
        for number in numbers {
            transaction.wire(table.gsi(number).unwrap(), pin(chip, number));
        }
        Box::new(move || Ok(transaction.commit()?))
    };
    // 4070 messages are there, so 26 more entries fit.
    vm.take();
    let gate = Gate::new(&vm, |_| Ok(()));
    let others = vec![
        wire(IrqChip::IoApic, 1..24),
        retarget(&leases[0], 1),
        retarget(&leases[1], 1),
        retarget(&leases[2], 2),
        both_pins(&table, 5),
        retarget(&leases[3], 2),
    ];
    let (first, others) = gate.crowd(wire(IrqChip::IoApic, 0..1), others, || {});
    first.unwrap().unwrap();
    for (place, result) in others.into_iter().enumerate() {
        match result {
            Ok(()) => assert_ne!(place, 4),
            Err(error) => {
                assert_eq!(place, 4);
                let full = "the table would have 4097 entries, and the kernel takes 4096: drop \
                    or park leases";
                assert_eq!(error.to_string(), full);
            }
        }
    }
    assert_eq!(table.routes().len(), 4096);
    let calls = committed(&vm);
    assert_eq!(calls.len(), 4, "the first; three; one; one");
    assert_eq!(calls.last().unwrap().len(), 4096);
}

/// Routes a GSI to both kinds of controller.
fn both_pins(table: &RoutingTable, number: u32) -> Commit {
    let pins = [IrqChip::PicMaster, IrqChip::IoApic].map(|chip| pin(chip, number));
    let mut transaction = table.transaction();
    transaction.wire(table.gsi(number).unwrap(), Pins::new(pins).unwrap());
    Box::new(move || Ok(transaction.commit()?))
}

#[test]
fn leases_come_and_go_while_a_table_is_in_the_kernel() {
    let (vm, table) = table();
    let [one, two] = leases(&table);
    vm.take();
    let gate = Gate::new(&vm, |_| Ok(()));
    let (first, _) = gate.crowd(retarget(&one, 2), vec![], || {
        let three = table.lease().unwrap();
        assert_eq!(three.gsi().number(), 26);
        drop((two, three));
        assert_eq!(table.lease().unwrap().gsi().number(), 25);
        assert_eq!(table.leased(), 1);
        assert_eq!(table.routes().len(), 1);
    });
    first.unwrap().unwrap();
    table.flush().unwrap();
    assert_eq!(committed(&vm), [vec![24, 25], vec![24]]);
}

#[test]
fn a_lease_that_is_dropped_during_its_commit_leaves_nothing() {
    let (vm, table) = table();
    let lease = table.lease().unwrap();
    let mut transaction = table.transaction();
    transaction.route(&lease, message(2));
    let gate = Gate::new(&vm, |_| Ok(()));
    let commit = || transaction.commit().map_err(Error::from);
    let (first, _) = gate.crowd(commit, vec![], || {
        drop(lease);
        let other = table.lease().unwrap();
        assert_eq!(other.gsi().number(), 25, "24 is not settled");
    });
    first.unwrap().unwrap();
    assert_eq!(table.leased(), 0);
    assert_eq!(table.routes(), []);
    let next = table.lease().unwrap();
    assert_eq!(next.gsi().number(), 24);
    assert_eq!(next.route(), None);
    table.flush().unwrap();
    assert_eq!(committed(&vm), [vec![24], vec![]]);
}

#[test]
fn whoever_wants_the_last_gsi_waits_until_it_is_settled() {
    for block in [false, true] {
        let (vm, table) = table();
        let mut leases: Vec<_> = std::iter::from_fn(|| table.lease().ok()).collect();
        let last = leases.pop().unwrap();
        let mut transaction = table.transaction();
        transaction.route(&last, message(2));
        let gate = Gate::new(&vm, |_| Ok(()));
        let first: Box<dyn FnOnce() -> Result<GsiLease, Error> + Send> = Box::new(|| {
            transaction.commit()?;
            table.lease_exact(0)
        });
        let next = Box::new(|| {
            drop(last);
            match block {
                true => table.lease_block(1).map(|mut block| block.remove(0)),
                false => table.lease(),
            }
        });
        let (first, others) = gate.crowd(first, vec![next], || {});
        drop(first.unwrap().unwrap());
        let [next] = others.try_into().unwrap();
        let next = next.unwrap();
        assert_eq!((next.gsi().number(), next.route()), (4095, None));
        assert!(matches!(table.lease(), Err(Error::Exhausted { .. })));
    }
}

#[test]
fn a_line_in_quarantine_keeps_the_route_that_its_last_commit_gave_it() {
    let (vm, table) = table();
    let line = table.lease_msi(message(1)).unwrap().into_line().unwrap();
    let gsi = line.gsi();
    let commit = retarget(line.lease().unwrap(), 2);
    let gate = Gate::new(&vm, |_| Ok(()));
    let (first, _) = gate.crowd(commit, vec![], || line.quarantine());
    first.unwrap().unwrap();
    assert_eq!(table.route(gsi), Some(Route::Msi(message(2))));
    assert!(table.lease_exact(gsi.number()).is_err());
    table.recommit().unwrap();
    assert_eq!(committed(&vm).pop(), Some(vec![24]));
}

/// Takes a route that a commit is about to remove.
fn race_for_the_route(
    reply: fn(&[RouteEntry]) -> io::Result<()>,
) -> (Result<(), Error>, Result<Line, Error>) {
    let (vm, table) = table();
    let lease = table.lease_msi(message(1)).unwrap();
    let mut transaction = table.transaction();
    transaction.unroute(&lease);
    let gate = Gate::new(&vm, reply);
    let race = vec![
        Box::new(move || transaction.commit().map(|()| None).map_err(Error::from))
            as Box<dyn FnOnce() -> Result<Option<Line>, Error> + Send>,
        Box::new(move || lease.into_line().map(Some).map_err(Error::from)),
    ];
    let mut race = race.into_iter();
    let (commit, hold) = gate.crowd(race.next().unwrap(), race.collect(), || {});
    let hold = hold.into_iter().next().unwrap().map(Option::unwrap);
    (commit.unwrap().map(drop), hold)
}

#[test]
fn whoever_takes_hold_of_a_route_learns_first_whether_it_stays() {
    let (removed, held) = race_for_the_route(|_| Ok(()));
    removed.unwrap();
    assert!(matches!(held.unwrap_err(), Error::NoRoute { .. }));

    let (removed, held) = race_for_the_route(|_| Err(io::Error::from_raw_os_error(EINVAL)));
    removed.unwrap_err();
    assert!(held.unwrap().lease().unwrap().route().is_some());
}

#[test]
fn whoever_wants_a_gsi_learns_first_whether_it_is_wired() {
    for (reply, free) in [(None, false), (Some(EINVAL), true)] {
        let (vm, table) = table();
        let gate = Gate::new(&vm, move |_| {
            reply.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
        });
        let mut transaction = table.transaction();
        transaction.wire(table.gsi(4).unwrap(), pin(IrqChip::IoApic, 4));
        let race = vec![
            Box::new(move || transaction.commit().is_ok()) as Box<dyn FnOnce() -> bool + Send>,
            Box::new(|| table.lease_exact(4).is_ok()),
        ];
        let mut race = race.into_iter();
        let (wired, leased) = gate.crowd(race.next().unwrap(), race.collect(), || {});
        assert_eq!((wired.unwrap(), leased), (!free, vec![free]));
    }
}

#[test]
fn whoever_wants_a_share_of_a_line_learns_first_whether_it_stays_wired() {
    for refused in [false, true] {
        let (vm, table) = table();
        both_pins(&table, 4)().unwrap();
        let gate = Gate::new(&vm, move |_| match refused {
            true => Err(io::Error::from_raw_os_error(EINVAL)),
            false => Ok(()),
        });
        let mut transaction = table.transaction();
        transaction.unwire(table.gsi(4).unwrap());
        let unwire: Box<dyn FnOnce() -> bool + Send> = Box::new(|| transaction.commit().is_ok());
        let share = Box::new(|| table.line(4).is_ok());
        let (unwired, shared) = gate.crowd(unwire, vec![share], || {});
        assert_eq!((unwired.unwrap(), shared), (!refused, vec![refused]));
    }
}

#[test]
fn a_table_that_is_about_to_be_wired_is_not_empty() {
    let (_, old) = table();
    let lease = old.lease_exact(4).unwrap();
    let (vm, table) = table();
    let gate = Gate::new(&vm, |_| Ok(()));
    let (wired, _) = gate.crowd(both_pins(&table, 4), vec![], || {
        let restored = table.restore(&old.snapshot());
        assert!(matches!(restored, Err(RestoreError::NotEmpty)));
    });
    wired.unwrap().unwrap();
    assert_eq!(table.leased(), 0);
    drop(lease);
}

#[test]
fn a_panic_of_the_one_who_leads_is_nobody_elses() {
    let (vm, table) = table();
    let leases: [_; 3] = leases(&table);
    let tables = AtomicU32::new(0);
    let gate = Gate::new(&vm, move |_| {
        assert!(
            tables.fetch_add(1, Ordering::Relaxed) > 0,
            "a bug of the VM"
        );
        Ok(())
    });
    let others = vec![retarget(&leases[1], 3), retarget(&leases[2], 3)];
    let (first, others) = gate.crowd(retarget(&leases[0], 2), others, || {});
    assert!(first.is_err(), "it panicked");
    others.into_iter().for_each(|result| result.unwrap());
    expect_message(&leases[0], 1);
    expect_message(&leases[1], 3);
    leases[0].set_route(message(4)).unwrap();
}

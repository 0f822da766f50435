// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Parked leases: kept while there is no shortage, and taken back when there is one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use irq_routing::{
    EditOutcome, Error, Gsi, GsiLease, IrqChip, MessageEdit, MsiMessage, ParkedLease, Platform,
    Route, RoutingTable, Wiring,
};
use kvm_test::Recorder;
use notify_core::{Extension, RouteEntry, RouteTarget};

use crate::crowd::Gate;
use crate::{EINVAL, committed, message, pin, route};

/// A VM with GSIs 0 to 7, of which none is reserved.
fn table() -> (Arc<Recorder>, RoutingTable) {
    of_size(8)
}

fn of_size(gsis: u32) -> (Arc<Recorder>, RoutingTable) {
    let vm = Arc::new(Recorder::default());
    vm.has(Platform::X86);
    vm.answer(Extension::IrqRouting, gsis);
    let builder = RoutingTable::builder(vm.clone()).wiring(Wiring::none(Platform::X86));
    let table = builder.reserved_gsis(0).build().unwrap();
    (vm, table)
}

/// A PC's wiring, which has 38 entries for 23 GSIs, and eight GSIs that can be leased: 6 entries
/// are left.
fn pc() -> (Arc<Recorder>, RoutingTable) {
    let vm = Arc::new(Recorder::default());
    vm.has(Platform::X86);
    vm.answer(Extension::IrqRouting, 44);
    let builder = RoutingTable::builder(vm.clone()).wiring(Wiring::pc());
    let table = builder.build().unwrap();
    table.recommit().unwrap();
    assert_eq!(committed(&vm).pop().unwrap().len(), 38);
    (vm, table)
}

fn leases(table: &RoutingTable, count: u32) -> Vec<GsiLease> {
    let lease = |data| table.lease_msi(message(data)).unwrap();
    (0..count).map(lease).collect()
}

/// The GSIs with a message in the last table that was committed.
#[track_caller]
fn last_messages(vm: &Recorder) -> Vec<u32> {
    let entries = vm.take().into_iter().rev().find_map(|call| match call {
        kvm_test::Call::Routes(entries) => Some(entries),
        _ => None,
    });
    let is_message =
        |entry: &&RouteEntry| matches!(entry.target, RouteTarget::Msi(MsiMessage { .. }));
    let entries = entries.unwrap();
    let mut gsis: Vec<_> = entries
        .iter()
        .filter(is_message)
        .map(|one| one.gsi)
        .collect();
    gsis.sort_unstable();
    gsis
}

fn number(lease: &GsiLease) -> u32 {
    lease.gsi().number()
}

/// Which of these are still parked.
fn unparked(parked: Vec<ParkedLease>) -> Vec<Option<u32>> {
    let gsi = |one: ParkedLease| one.unpark().map(|lease| number(&lease));
    parked.into_iter().map(gsi).collect()
}

fn outcomes(table: &RoutingTable, edits: &[MessageEdit]) -> Vec<EditOutcome> {
    let mut outcomes = Vec::new();
    table.commit_each(edits.iter().copied(), |_, outcome| outcomes.push(outcome));
    outcomes
}

#[test]
fn without_a_shortage_it_comes_back_as_it_was() {
    let (vm, table) = table();
    let lease = table.lease_msi(message(1)).unwrap().named("net0");
    vm.take();
    let parked = lease.park();
    assert_eq!(table.leased(), 0);
    assert_eq!(table.routes(), [(table.gsi(0).unwrap(), message(1).into())]);
    let other = table.lease_msi(message(2)).unwrap();
    assert_eq!(number(&other), 1, "the parked one keeps its GSI");
    assert_eq!(last_messages(&vm), [0, 1]);

    let lease = parked.unpark().unwrap();
    assert_eq!(number(&lease), 0);
    assert_eq!(lease.route(), Some(Route::Msi(message(1))));
    assert_eq!(lease.name().as_deref(), Some("net0"));
    assert_eq!(table.leased(), 2);
    let line = lease.into_line().unwrap();
    assert!(vm.take().is_empty(), "no ioctl");

    line.lease().unwrap().set_route(message(3)).unwrap();
    assert_eq!(last_messages(&vm), [0, 1]);
}

#[test]
fn dropping_it_gives_the_gsi_back() {
    let (vm, table) = table();
    let parked = table.lease_msi(message(1)).unwrap().named("net0").park();
    vm.take();
    drop(parked);
    assert!(vm.take().is_empty());
    assert!(table.routes().is_empty());
    let again = table.lease().unwrap();
    assert_eq!((number(&again), again.name()), (0, None));
    table.flush().unwrap();
    assert_eq!(committed(&vm), [[0; 0]]);
}

#[test]
fn the_longest_parked_lease_is_taken_first() {
    let (vm, table) = table();
    let mut leases: Vec<_> = leases(&table, 8).into_iter().map(Some).collect();
    vm.take();
    let mut parked = Vec::new();
    for place in [5, 2, 7, 3] {
        parked.push(leases[place].take().unwrap().park());
    }
    // Parked again: it is not the longest parked one any more.
    let again = parked.remove(0).unpark().unwrap();
    parked.push(again.park());
    let new: Vec<_> = (0..3).map(|_| table.lease().unwrap()).collect();
    assert_eq!(new.iter().map(number).collect::<Vec<_>>(), [2, 7, 3]);
    assert!(new.iter().all(|lease| lease.route().is_none()));
    assert_eq!(unparked(parked), [None, None, None, Some(5)]);
    assert!(vm.take().is_empty(), "no ioctl");
    table.flush().unwrap();
    assert_eq!(last_messages(&vm), [0, 1, 4, 6]);
}

#[test]
fn what_was_taken_back_is_not_taken_from_its_new_holder() {
    let (_, table) = of_size(1);
    let parked = table.lease_msi(message(1)).unwrap().named("old").park();
    let other = table.lease_msi(message(2)).unwrap();
    assert_eq!(other.name(), None);
    drop(parked);
    assert!(table.lease_if_free().is_err());
    assert_eq!(other.route(), Some(Route::Msi(message(2))));

    let parked = other.park();
    let third = table.lease().unwrap();
    assert!(parked.unpark().is_none());
    assert_eq!(table.leased(), 1);
    drop(third);
    assert_eq!(table.leased(), 0);
}

#[test]
fn a_lease_that_is_held_is_never_taken() {
    let (_, table) = pc();
    let held = leases(&table, 6);
    let error = table.lease_msi(message(7)).unwrap_err();
    assert!(matches!(
        error,
        Error::TableFull {
            entries: 45,
            limit: 44,
            ..
        }
    ));
    let rest: Vec<_> = std::iter::from_fn(|| table.lease_if_free().ok()).collect();
    assert_eq!(rest.len(), 14);
    let Err(Error::Exhausted { leased, .. }) = table.lease() else {
        panic!("all are held");
    };
    assert_eq!(leased, 20);
    let routed = |lease: &GsiLease| lease.route().is_some();
    assert!(held.iter().all(routed));
}

#[test]
fn exhaustion_does_not_count_parked_leases() {
    let (_, table) = table();
    let reserved = RoutingTable::builder(table.vm().clone())
        .wiring(Wiring::none(Platform::X86))
        .reserved_gsis(8);
    let table = reserved.build().unwrap();
    let parked = table.lease_exact(3).unwrap().named("parked").park();
    let held = table.lease_exact(4).unwrap().named("held");
    let Err(Error::Exhausted {
        leased, holders, ..
    }) = table.lease()
    else {
        panic!("all others are reserved");
    };
    assert_eq!((leased, holders.len()), (1, 1));
    assert_eq!(&*holders[0].name, "held");
    assert_eq!(unparked(vec![parked]), [Some(3)], "it is reserved, too");
    drop(held);
}

#[test]
fn blocks_and_exact_numbers_take_parked_leases() {
    let (_, table) = table();
    let mut all = leases(&table, 8).into_iter();
    let (zero, one) = (all.next().unwrap(), all.next().unwrap().park());
    let [two, three, four, five] = std::array::from_fn(|_| all.next().unwrap());
    let [two, three, five] = [two, three, five].map(GsiLease::park);
    let block = table.lease_block(2).unwrap();
    assert_eq!(block.iter().map(number).collect::<Vec<_>>(), [2, 3]);
    assert!(table.lease_block(2).is_err(), "1 and 5 are not in a row");
    let exact = table.lease_exact(5).unwrap();
    assert_eq!(exact.route(), None);
    assert_eq!(
        unparked(vec![two, three, five, one]),
        [None, None, None, Some(1)]
    );
    drop((zero, four, all));

    let free = table.lease_exact(0).unwrap();
    drop((free, block));
    let parked = table.lease_exact(1).unwrap().park();
    let block = table.lease_block(2).unwrap();
    assert_eq!(number(&block[0]), 2, "those that are free first");
    assert_eq!(unparked(vec![parked]), [Some(1)]);
}

#[test]
fn entries_run_out_before_numbers() {
    let (vm, table) = pc();
    let mut parked: Vec<_> = leases(&table, 6).into_iter().map(GsiLease::park).collect();
    let new: Vec<_> = (0..6).map(|_| table.lease().unwrap()).collect();
    vm.take();
    for (place, lease) in new.iter().enumerate() {
        lease.set_route(message(40)).unwrap();
        let place = place as u32;
        let expected: Vec<u32> = (25 + place..=30 + place).collect();
        assert_eq!(last_messages(&vm), expected, "with one ioctl");
        assert_eq!(table.routes().len(), 23 + 6);
        let first = parked.remove(0);
        assert!(first.unpark().is_none(), "the longest parked one");
    }
    let full = table.lease_msi(message(1)).unwrap_err();
    assert!(matches!(full, Error::TableFull { entries: 45, .. }));
    assert!(vm.take().is_empty());
}

#[test]
fn no_more_are_taken_than_needed_and_none_in_vain() {
    let (vm, table) = pc();
    let mut all = leases(&table, 6).into_iter();
    let unrouted = table.lease().unwrap().park();
    let parked: Vec<_> = all.by_ref().take(3).map(GsiLease::park).collect();
    let new: Vec<_> = (0..4).map(|_| table.lease().unwrap()).collect();
    vm.take();
    let commit = |count: usize| {
        let mut transaction = table.transaction();
        for lease in &new[..count] {
            transaction.route(lease, message(50));
        }
        transaction.commit().map_err(Error::from)
    };
    let error = commit(4).unwrap_err();
    assert!(
        matches!(
            error,
            Error::TableFull {
                entries: 45,
                limit: 44,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(vm.take().is_empty());
    commit(2).unwrap();
    assert_eq!(last_messages(&vm), [26, 27, 28, 29, 31, 32]);
    assert_eq!(unparked(parked), [None, None, Some(26)]);
    assert_eq!(unparked(vec![unrouted]), [Some(30)], "it has no entry");
}

/// It has no entry, so another one is taken for an entry; its number is taken later.
#[test]
fn one_that_was_passed_over_can_still_be_taken() {
    let (_vm, table) = pc();
    let passed_over = table.lease().unwrap();
    let gsi = number(&passed_over);
    let passed_over = passed_over.park();
    let mut all = leases(&table, 6);
    let routed = all.remove(0).park();
    let new = table.lease().unwrap();
    new.set_route(message(50)).unwrap();
    assert_eq!(unparked(vec![routed]), [None]);
    let all_others: Vec<_> = std::iter::from_fn(|| table.lease().ok()).collect();
    assert_eq!(all_others.last().map(number), Some(gsi));
    assert_eq!(unparked(vec![passed_over]), [None]);
}

#[test]
fn one_whose_message_is_blocked_has_no_entry_to_take() {
    let (_vm, table, added) = translating(8);
    let blocked = table.lease_msi(message(1)).unwrap().park();
    let lease = |data| table.lease_msi(message(data)).unwrap();
    let routed = lease(200).park();
    let six: Vec<_> = (201..207).map(lease).collect();
    added.store(2000, Ordering::Relaxed);
    table.retranslate().unwrap();
    let pins = |number| {
        let pins = [IrqChip::PicMaster, IrqChip::IoApic].map(|chip| pin(chip, number));
        irq_routing::Pins::new(pins).unwrap()
    };
    // Seven entries, and eight.
    six[0].set_route(pins(4)).unwrap();
    six[1].set_route(pins(5)).unwrap();
    assert_eq!(unparked(vec![blocked, routed]), [Some(0), None]);
}

#[test]
fn pins_of_a_parked_lease_are_several_entries() {
    let (vm, table) = table();
    let lease = table.lease().unwrap();
    let pins = [IrqChip::PicMaster, IrqChip::IoApic].map(|chip| pin(chip, 4));
    lease
        .set_route(irq_routing::Pins::new(pins).unwrap())
        .unwrap();
    let single = table.lease_msi(message(1)).unwrap().park();
    let parked = lease.park();
    let _five = leases(&table, 5);
    vm.take();
    let error = table.lease_msi(message(9)).unwrap();
    assert_eq!(unparked(vec![single]), [None], "the longest parked one");
    let other = table.lease_msi(message(10)).unwrap();
    assert_eq!(committed(&vm).pop().unwrap().len(), 7);
    assert!(parked.unpark().is_none());
    drop((error, other));
}

/// The VM refuses the table for which a lease was taken back.
#[test]
fn a_refusal_leaves_nothing_behind_that_a_later_commit_does_not_remove() {
    let (vm, table) = pc();
    let mut all = leases(&table, 6);
    let parked = all.remove(0).park();
    let lease = table.lease().unwrap();
    vm.take();
    vm.fail_after(0, EINVAL);
    let refused = lease.set_route(message(7)).unwrap_err();
    assert!(matches!(refused, Error::Refused { edits: 1, .. }));
    assert_eq!(last_messages(&vm), [25, 26, 27, 28, 29, 30]);
    assert!(parked.unpark().is_none(), "it stays taken");
    let gsi = table.gsi(24).unwrap();
    assert_eq!(table.route(gsi), None);
    let stale = table.explain(gsi).to_string();
    assert!(stale.contains("the next commit removes"), "{stale}");
    table.flush().unwrap();
    assert_eq!(last_messages(&vm), [25, 26, 27, 28, 29]);
    lease.set_route(message(7)).unwrap();
    assert_eq!(last_messages(&vm), [25, 26, 27, 28, 29, 30]);
}

#[test]
fn a_search_takes_back_for_those_that_the_kernel_takes() {
    const GUILTY: u32 = 666;
    let (vm, table) = pc();
    vm.on_routes(|entries| {
        let guilty = |entry: &RouteEntry| match entry.target {
            RouteTarget::Msi(MsiMessage { data, .. }) => data == GUILTY,
            _ => false,
        };
        match entries.iter().any(guilty) {
            true => Err(std::io::Error::from_raw_os_error(EINVAL)),
            false => Ok(()),
        }
    });
    let parked: Vec<_> = leases(&table, 6).into_iter().map(GsiLease::park).collect();
    let new: Vec<_> = (0..6).map(|_| table.lease().unwrap()).collect();
    let edit = |(place, lease): (usize, &GsiLease)| match place {
        3 => lease.edit(message(GUILTY)),
        _ => lease.edit(message(9)),
    };
    let edits: Vec<_> = new.iter().enumerate().map(edit).collect();
    let outcomes = outcomes(&table, &edits);
    let committed = |outcome: &EditOutcome| matches!(outcome, EditOutcome::Committed);
    let committed: Vec<_> = outcomes.iter().map(committed).collect();
    assert_eq!(committed, [true, true, true, false, true, true]);
    vm.take();
    table.recommit().unwrap();
    assert_eq!(last_messages(&vm), [30, 31, 32, 34, 35]);
    assert_eq!(unparked(parked), [None; 6]);
}

#[test]
fn a_parked_lease_that_a_commit_changes_is_waited_for() {
    let (vm, table) = of_size(1);
    let lease = table.lease_msi(message(1)).unwrap();
    let mut transaction = table.transaction();
    transaction.route(&lease, message(2));
    let parked = lease.park();
    vm.take();
    let gate = Gate::new(&vm, |_| Ok(()));
    type Call = Box<dyn FnOnce() -> Option<GsiLease> + Send>;
    let first: Call = Box::new(move || {
        transaction.commit().unwrap();
        None
    });
    let other = table.clone();
    let second: Call = Box::new(move || other.lease_if_free().ok());
    let (first, others) = gate.crowd(first, vec![second], || {});
    assert!(first.unwrap().is_none());
    let [Some(taken)] = &others[..] else {
        panic!("{others:?}");
    };
    assert_eq!(taken.route(), None);
    assert_eq!(vm.take().len(), 1);
    assert!(parked.unpark().is_none());
    table.flush().unwrap();
    assert_eq!(committed(&vm), [[0; 0]]);
}

/// The engine must not take back a lease whose edit is in the same round.
#[test]
fn the_edit_of_a_parked_lease_needs_an_entry_of_another_one() {
    let (vm, table) = pc();
    let mut all = leases(&table, 6);
    let (first, second) = (all.remove(0), all.remove(0));
    let new = table.lease().unwrap();
    let mut transaction = table.transaction();
    transaction
        .route(&first, message(77))
        .route(&new, message(78));
    let parked = [first.park(), second.park()];
    vm.take();
    transaction.commit().unwrap();
    assert_eq!(last_messages(&vm), [24, 26, 27, 28, 29, 30]);
    let [first, second] = parked.map(ParkedLease::unpark);
    assert!(second.is_none());
    assert_eq!(first.unwrap().route(), Some(Route::Msi(message(77))));
}

/// Two requests fit together and are refused; while the guilty one is searched for a lease is
/// dropped. The innocent request does not fit without the other, but it fits into the entry of the
/// dropped lease.
#[test]
fn an_entry_that_was_given_up_during_the_round_may_go() {
    let (vm, table) = pc();
    let mut all = leases(&table, 6);
    let dropped = std::sync::Mutex::new(Some(all.remove(0)));
    let new = table.lease().unwrap();
    let gate = Gate::new(&vm, move |entries| {
        let is_guilty = |entry: &RouteEntry| {
            matches!(entry.target, RouteTarget::Msi(MsiMessage { data: 666, .. }))
        };
        if entries.iter().any(is_guilty) {
            drop(dropped.lock().unwrap().take());
            return Err(std::io::Error::from_raw_os_error(EINVAL));
        }
        Ok(())
    });
    type Commit = Box<dyn FnOnce() -> Result<(), Error> + Send>;
    let commit = |mut transaction: irq_routing::Transaction, lease: &GsiLease, data| -> Commit {
        transaction.route(lease, message(data));
        Box::new(move || Ok(transaction.commit()?))
    };
    let first = commit(table.transaction(), &all[0], 9);
    let mut guilty = table.transaction();
    guilty.unroute(&all[1]);
    let guilty = commit(guilty, &all[2], 666);
    let innocent = commit(table.transaction(), &new, 10);
    let (first, others) = gate.crowd(first, vec![guilty, innocent], || {});
    first.unwrap().unwrap();
    let [Err(Error::Refused { .. }), Ok(())] = &others[..] else {
        panic!("{others:?}");
    };
    assert_eq!(last_messages(&vm), [25, 26, 27, 28, 29, 30]);
    table.recommit().unwrap();
    assert_eq!(last_messages(&vm), [25, 26, 27, 28, 29, 30]);
}

#[test]
fn older_edits_stay_superseded() {
    let (vm, table) = table();
    let lease = table.lease().unwrap();
    let old = lease.edit(message(1));
    let new = lease.edit(message(2));
    assert!(matches!(
        outcomes(&table, &[new])[..],
        [EditOutcome::Committed]
    ));
    let parked = lease.park();
    vm.take();
    assert!(matches!(
        outcomes(&table, &[old])[..],
        [EditOutcome::Superseded]
    ));
    let lease = parked.unpark().unwrap();
    assert!(matches!(
        outcomes(&table, &[old])[..],
        [EditOutcome::Superseded]
    ));
    assert!(vm.take().is_empty());
    let newest = lease.edit(message(3));
    // Committed while it is parked: it is still an edit of this lease.
    let parked = lease.park();
    assert!(matches!(
        outcomes(&table, &[newest, new])[..],
        [EditOutcome::Committed, EditOutcome::Superseded]
    ));
    let lease = parked.unpark().unwrap();
    assert_eq!(lease.route(), Some(Route::Msi(message(3))));

    let stale = lease.edit(message(4));
    let parked = lease.park();
    let other = table.lease_exact(0).unwrap();
    let [EditOutcome::Failed(error)] = &outcomes(&table, &[stale])[..] else {
        panic!("it was taken back");
    };
    assert!(matches!(**error, Error::NotLeased { .. }));
    drop((parked, other));
}

#[test]
fn a_snapshot_leaves_parked_leases_out() {
    let (_, table) = table();
    let [parked, held] = [1, 2].map(|data| table.lease_msi(message(data)).unwrap());
    let parked = parked.park();
    let (_, restored) = self::table();
    restored.restore(&table.snapshot()).unwrap();
    assert_eq!(restored.unclaimed(), [held.gsi()]);
    assert_eq!(restored.routes().len(), 1);
    drop(parked);
}

#[test]
fn what_is_parked_is_explained_and_not_shared() {
    let (_, table) = table();
    let parked = table.lease_msi(message(0x41)).unwrap().park();
    let explained = table.explain(0u32).to_string();
    let expected = "on the spot: fixed interrupt, vector 0x41, to APIC 0 (physical destination); \
                    its lease is parked: nothing is armed on it, and the table may take it back";
    assert_eq!(explained, expected);
    assert_eq!(table.dump().entries().len(), 1, "as committed");
    assert!(matches!(table.line(0), Err(Error::GsiInUse { .. })));
    let mut transaction = table.transaction();
    transaction.wire(table.gsi(0).unwrap(), pin(IrqChip::IoApic, 4));
    let rejected = transaction.commit().unwrap_err();
    assert!(matches!(rejected.error, Error::GsiInUse { .. }));
    drop(parked);
}

/// GSI and data of the kernel's messages.
type Kernel = Vec<(u32, u32)>;

/// Messages of data below 100 have this number added, and are blocked if the sum is 1000.
fn translating(gsis: u32) -> (Arc<Recorder>, RoutingTable, Arc<AtomicU32>) {
    let vm = Arc::new(Recorder::default());
    vm.has(Platform::X86);
    vm.answer(Extension::IrqRouting, gsis);
    let added = Arc::new(AtomicU32::new(0));
    let adds = Arc::clone(&added);
    let builder = RoutingTable::builder(vm.clone()).wiring(Wiring::none(Platform::X86));
    let builder = builder.reserved_gsis(0).translate(move |mut message| {
        if message.data < 100 {
            message.data += adds.load(Ordering::Relaxed);
        }
        (message.data < 1000).then_some(message)
    });
    (vm, builder.build().unwrap(), added)
}

fn last_table(vm: &Recorder) -> Kernel {
    let calls = vm.take();
    let Some(kvm_test::Call::Routes(entries)) = calls.last() else {
        panic!("{calls:?}");
    };
    let data = |entry: &RouteEntry| match entry.target {
        RouteTarget::Msi(MsiMessage { data, .. }) => (entry.gsi, data),
        _ => panic!("{entry:?}"),
    };
    let mut table: Kernel = entries.iter().map(data).collect();
    table.sort_unstable();
    table
}

#[test]
fn parked_routes_are_translated() {
    let (vm, table, added) = translating(8);
    let leases = [1, 2, 200].map(|data| table.lease_msi(message(data)).unwrap());
    let [parked, held, other] = leases;
    let parked = parked.park();
    added.store(50, Ordering::Relaxed);
    table.retranslate().unwrap();
    assert_eq!(last_table(&vm), [(0, 51), (1, 52), (2, 200)]);
    added.store(2000, Ordering::Relaxed);
    table.retranslate().unwrap();
    assert_eq!(
        last_table(&vm),
        [(2, 200)],
        "blocked: nothing is armed there"
    );
    let lease = parked.unpark().unwrap();
    assert_eq!(lease.route(), Some(Route::Msi(message(1))));
    added.store(0, Ordering::Relaxed);
    table.retranslate().unwrap();
    assert_eq!(last_table(&vm), [(0, 1), (1, 2), (2, 200)]);

    // The kernel refuses the new translation of the parked one alone.
    let parked = lease.park();
    vm.on_routes(|entries| {
        let is_bad = |entry: &RouteEntry| {
            matches!(entry.target, RouteTarget::Msi(MsiMessage { data: 71, .. }))
        };
        match entries.iter().any(is_bad) {
            true => Err(std::io::Error::from_raw_os_error(EINVAL)),
            false => Ok(()),
        }
    });
    added.store(70, Ordering::Relaxed);
    let error = table.retranslate().unwrap_err();
    let parked_gsi = table.gsi(0).unwrap();
    assert!(matches!(error, Error::Untranslated { blocked, .. } if blocked == [parked_gsi]));
    assert_eq!(last_table(&vm), [(1, 72), (2, 200)]);
    drop((parked, held, other));
}

/// Of two GSIs only one has an entry, since the message of the other is blocked. The wiring has
/// the second entry.
#[test]
fn a_translation_that_lets_more_through_takes_parked_leases_back() {
    for refused in [false, true] {
        let (vm, table, added) = translating(4);
        added.store(2000, Ordering::Relaxed);
        let [blocked, through] = [1, 200].map(|data| table.lease_msi(message(data)).unwrap());
        let parked = through.park();
        let pins = [IrqChip::PicMaster, IrqChip::IoApic].map(|chip| pin(chip, 4));
        let mut transaction = table.transaction();
        transaction.wire(table.gsi(3).unwrap(), irq_routing::Pins::new(pins).unwrap());
        transaction.commit().unwrap();
        let third = table.lease_msi(message(201)).unwrap();
        vm.take();
        added.store(0, Ordering::Relaxed);
        if refused {
            vm.fail_after(0, EINVAL);
        }
        table.retranslate().unwrap();
        assert!(parked.unpark().is_none());
        assert_eq!(last_messages(&vm), [0, 2]);
        let gone: Gsi = table.gsi(1).unwrap();
        let lost = table.explain(gone).to_string();
        assert_eq!(lost, "lost: the GSI has no route");
        table.recommit().unwrap();
        assert_eq!(last_messages(&vm), [0, 2]);
        drop((blocked, third));
    }
}

/// Each edit that fits is committed, and only those that do not fit fail, with at most three
/// tables.
#[test]
fn as_many_edits_as_fit_are_committed() {
    let vm = Arc::new(Recorder::default());
    vm.has(Platform::X86);
    let builder = RoutingTable::builder(vm.clone()).wiring(Wiring::pc());
    let table = builder.build().unwrap();
    let mut all: Vec<_> = std::iter::from_fn(|| table.lease_if_free().ok()).collect();
    let commit = |leases: &mut dyn Iterator<Item = &GsiLease>| {
        let edits: Vec<_> = leases.map(|lease| lease.edit(message(2))).collect();
        let outcomes = outcomes(&table, &edits);
        let failed = |outcome: &EditOutcome| match outcome {
            EditOutcome::Committed => false,
            EditOutcome::Failed(error) => matches!(**error, Error::TableFull { limit: 4096, .. }),
            other => panic!("{other:?}"),
        };
        outcomes.iter().map(failed).collect::<Vec<bool>>()
    };
    // Every third one has an entry already.
    let routed: Vec<_> = all.iter().step_by(3).collect();
    let edits: Vec<_> = routed.iter().map(|lease| lease.edit(message(1))).collect();
    assert_eq!(outcomes(&table, &edits).len(), 1358);
    vm.take();
    let failed = commit(&mut all.iter());
    assert_eq!(failed.iter().filter(|failed| **failed).count(), 4072 - 4058);
    let tables = committed(&vm);
    assert!(tables.len() <= 3, "{} tables", tables.len());
    assert_eq!(tables.last().unwrap().len(), 4096);

    // Ten entries of parked leases for fourteen edits, among others that need none.
    let parked: Vec<_> = all.drain(..10).map(GsiLease::park).collect();
    let failed = commit(&mut all.iter().rev().take(2000));
    assert_eq!(failed.iter().filter(|failed| **failed).count(), 4);
    let tables = committed(&vm);
    assert!(tables.len() <= 3, "{} tables", tables.len());
    assert_eq!(tables.last().unwrap().len(), 4096);
    assert_eq!(unparked(parked), [None; 10]);
}

/// No entry is left, and one edit of two needs none.
#[test]
fn an_edit_that_needs_no_entry_is_committed_beside_one_that_gets_none() {
    let (vm, table) = pc();
    let routed = leases(&table, 6);
    let new = table.lease().unwrap();
    for reversed in [false, true] {
        let data = 60 + u32::from(reversed);
        let mut edits = [routed[0].edit(message(data)), new.edit(message(70))];
        if reversed {
            edits.reverse();
        }
        vm.take();
        let mut outcomes = outcomes(&table, &edits);
        if reversed {
            outcomes.reverse();
        }
        assert!(
            matches!(&outcomes[..], [EditOutcome::Committed, EditOutcome::Failed(error)]
                if matches!(**error, Error::TableFull { limit: 44, .. })),
            "{outcomes:?}"
        );
        let tables: Vec<_> = vm.take();
        let Some(kvm_test::Call::Routes(entries)) = tables.last() else {
            panic!("{tables:?}");
        };
        let given = |entry: &&RouteEntry| entry.target == RouteTarget::Msi(message(data));
        assert_eq!(entries.iter().filter(given).count(), 1);
    }
}

/// One by one, in any order: edits that come when the table is full fail, without an ioctl.
#[test]
fn one_by_one_only_those_fail_that_do_not_fit() {
    let (vm, table) = pc();
    let all: Vec<_> = std::iter::from_fn(|| table.lease_if_free().ok()).collect();
    let mut fit = 0;
    for (place, lease) in all.iter().enumerate() {
        match lease.set_route(message(1)) {
            Ok(()) => fit += 1,
            Err(Error::TableFull { entries: 45, .. }) => assert!(place >= 6),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((fit, vm.take().len()), (6, 6));
    route(&table, &all[0], 2);
    assert_eq!(vm.take().len(), 1, "one that has an entry may change");
}

/// Two leases of one GSI are parked; the first one was taken back.
#[test]
fn an_old_holder_leaves_the_parked_lease_of_another_alone() {
    for unparks in [false, true] {
        let (vm, table) = table();
        let mut leases = leases(&table, 8);
        let old = leases.remove(0).park();
        let new = table.lease().unwrap();
        new.set_route(message(9)).unwrap();
        let new = new.park();
        vm.take();
        match unparks {
            true => assert!(old.unpark().is_none()),
            false => drop(old),
        }
        table.flush().unwrap();
        assert!(vm.take().is_empty(), "its route stays");
        assert_eq!(unparked(vec![new]), [Some(0)]);
    }
}

#[test]
fn a_block_takes_no_reserved_lease_back() {
    let vm = Arc::new(Recorder::default());
    vm.has(Platform::X86);
    vm.answer(Extension::IrqRouting, 8);
    let builder = RoutingTable::builder(vm).wiring(Wiring::none(Platform::X86));
    let table = builder.reserved_gsis(2).build().unwrap();
    let parked = [0, 1].map(|gsi| table.lease_exact(gsi).unwrap().park());
    let held: Vec<_> = std::iter::from_fn(|| table.lease_if_free().ok()).collect();
    assert!(matches!(
        table.lease_block(2),
        Err(Error::Exhausted { wanted: 2, .. })
    ));
    assert_eq!(unparked(parked.into()), [Some(0), Some(1)]);
    drop(held);
}

/// The table is full, and the last edit gives up an entry, which one of the others gets.
#[test]
fn what_an_edit_gives_up_another_one_gets() {
    let (_vm, table) = table();
    let pins = |lease: &GsiLease, number| {
        let pins = [IrqChip::PicMaster, IrqChip::IoApic].map(|chip| pin(chip, number));
        let pins = irq_routing::Pins::new(pins).unwrap();
        lease.set_route(pins).unwrap();
    };
    let wide = [4, 5].map(|number| {
        let lease = table.lease().unwrap();
        pins(&lease, number);
        lease
    });
    let _four = leases(&table, 4);
    let new = [(); 2].map(|()| table.lease().unwrap());
    let edits = [&new[0], &new[1], &wide[0]].map(|lease| lease.edit(message(9)));
    let outcomes = outcomes(&table, &edits);
    let [
        EditOutcome::Committed,
        EditOutcome::Failed(full),
        EditOutcome::Committed,
    ] = &outcomes[..]
    else {
        panic!("{outcomes:?}");
    };
    assert!(matches!(**full, Error::TableFull { limit: 8, .. }));
}

/// The kernel refuses the first table, and the search meets the GSI of the lease that was taken
/// back for it before the message that needs its entry.
#[test]
fn a_search_for_a_refused_translation_keeps_the_room_that_was_made() {
    let (vm, table, added) = translating(4);
    added.store(2000, Ordering::Relaxed);
    let [through, blocked] = [200, 1].map(|data| table.lease_msi(message(data)).unwrap());
    let parked = through.park();
    let pins = [IrqChip::PicMaster, IrqChip::IoApic].map(|chip| pin(chip, 4));
    let mut transaction = table.transaction();
    transaction.wire(table.gsi(3).unwrap(), irq_routing::Pins::new(pins).unwrap());
    transaction.commit().unwrap();
    let third = table.lease_msi(message(201)).unwrap();
    vm.take();
    added.store(0, Ordering::Relaxed);
    vm.fail_after(0, EINVAL);
    table.retranslate().unwrap();
    assert_eq!(last_messages(&vm), [1, 2]);
    assert!(parked.unpark().is_none());
    drop((blocked, third));
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Edits that are committed together and fail one by one.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use irq_routing::{
    EditOutcome, Error, GsiLease, MessageEdit, MsiMessage, Platform, Route, RoutingTable, Wiring,
};
use kvm_test::Recorder;
use notify_core::{Extension, RouteEntry, RouteTarget};

use crate::crowd::Gate;
use crate::{EINVAL, committed, message, table};

/// The data of a message that the kernel refuses by an unknown rule.
const GUILTY: u32 = 666;
const ENOMEM: i32 = 12;

/// A message that the kernel refuses once 32-bit APIC ids are enabled.
fn low_byte(data: u32) -> MsiMessage {
    MsiMessage::new(0x1_fee0_0000, data)
}

fn refuse_if(guilty: impl Fn(u64, u32) -> bool, entries: &[RouteEntry]) -> io::Result<()> {
    let refused = |entry: &RouteEntry| match entry.target {
        RouteTarget::Msi(MsiMessage { address, data, .. }) => guilty(address, data),
        _ => false,
    };
    match entries.iter().any(refused) {
        true => Err(io::Error::from_raw_os_error(EINVAL)),
        false => Ok(()),
    }
}

/// Refuses the guilty, and messages that break the rule of 32-bit APIC ids.
fn strict(entries: &[RouteEntry]) -> io::Result<()> {
    let guilty = |address: u64, data| data == GUILTY || address >> 32 & 0xff != 0;
    refuse_if(guilty, entries)
}

/// Commits, and returns a word for each edit.
#[track_caller]
fn commit(table: &RoutingTable, edits: &[MessageEdit]) -> Vec<&'static str> {
    words(&outcomes(table, edits))
}

#[track_caller]
fn outcomes(table: &RoutingTable, edits: &[MessageEdit]) -> Vec<EditOutcome> {
    let mut outcomes = Vec::new();
    table.commit_each(edits.iter().copied(), |index, outcome| {
        assert_eq!(index, outcomes.len(), "in the order of the edits");
        outcomes.push(outcome);
    });
    assert_eq!(outcomes.len(), edits.len());
    outcomes
}

fn words(outcomes: &[EditOutcome]) -> Vec<&'static str> {
    let word = |outcome: &EditOutcome| match outcome {
        EditOutcome::Committed => "committed",
        EditOutcome::Blocked => "blocked",
        EditOutcome::Superseded => "superseded",
        EditOutcome::NotTried => "not tried",
        EditOutcome::Failed(_) => "failed",
        EditOutcome::Panicked => "panicked",
        other => panic!("{other:?}"),
    };
    outcomes.iter().map(word).collect()
}

fn count(words: &[&str], word: &str) -> usize {
    words.iter().filter(|other| **other == word).count()
}

fn leases(table: &RoutingTable, count: usize) -> Vec<GsiLease> {
    (0..count).map(|_| table.lease().unwrap()).collect()
}

fn all(leases: &[GsiLease], data: u32) -> Vec<MessageEdit> {
    let edit = |lease: &GsiLease| lease.edit(message(data));
    leases.iter().map(edit).collect()
}

#[track_caller]
fn expect(lease: &GsiLease, data: impl Into<Option<u32>>) {
    let route = data.into().map(|data| Route::Msi(message(data)));
    assert_eq!(lease.route(), route);
}

#[test]
fn good_edits_are_one_ioctl_and_the_same_again_none() {
    let (vm, table) = table();
    assert_eq!(commit(&table, &[]), [""; 0]);
    assert!(vm.take().is_empty(), "the kernel's default is left alone");
    let leases = leases(&table, 3000);
    assert_eq!(commit(&table, &all(&leases, 1)), ["committed"; 3000]);
    assert_eq!(vm.take().len(), 1);
    leases.iter().for_each(|lease| expect(lease, 1));
    assert_eq!(commit(&table, &all(&leases, 1)), ["committed"; 3000]);
    assert!(vm.take().is_empty(), "nothing has changed");
}

#[test]
fn a_known_rule_is_learned_at_the_first_refusal() {
    let (vm, table) = table();
    vm.on_routes(strict);
    let leases = leases(&table, 2140);
    let is_good = |place: usize| place.is_multiple_of(21) && place / 21 < 100;
    let edits = |data| -> Vec<_> {
        let edit = |(place, lease): (usize, &GsiLease)| match is_good(place) {
            true => lease.edit(message(data)),
            false => lease.edit(low_byte(data)),
        };
        leases.iter().enumerate().map(edit).collect()
    };
    for (data, ioctls) in [(1, 2), (2, 1), (2, 0)] {
        let outcomes = outcomes(&table, &edits(data));
        assert_eq!(vm.take().len(), ioctls);
        let words = words(&outcomes);
        assert_eq!(count(&words, "committed"), 100);
        assert_eq!(count(&words, "failed"), 2040);
        for (place, outcome) in outcomes.iter().enumerate() {
            expect(&leases[place], is_good(place).then_some(data));
            let EditOutcome::Failed(error) = outcome else {
                assert!(is_good(place));
                continue;
            };
            assert!(
                matches!(&**error, Error::Refused { edits: 1, first, cause, .. }
                    if *first == Some(leases[place].gsi())
                        && cause.raw_os_error() == Some(EINVAL)),
                "{error:?}"
            );
        }
    }
    // The rule is never applied where the kernel may decide otherwise: the caller sees the kernel's
    // result.
    let refused = leases[1].set_route(low_byte(1)).unwrap_err();
    assert!(matches!(refused, Error::Refused { .. }));
    assert_eq!(vm.take().len(), 1);
}

#[test]
fn a_rule_that_is_not_in_force_is_not_assumed() {
    let (vm, table) = table();
    vm.on_routes(|entries| refuse_if(|_, data| data == GUILTY, entries));
    let leases = leases(&table, 3);
    let edits = [
        leases[0].edit(low_byte(1)),
        leases[1].edit(message(GUILTY)),
        leases[2].edit(low_byte(3)),
    ];
    assert_eq!(commit(&table, &edits), ["committed", "failed", "committed"]);
    assert_eq!(leases[0].route(), Some(Route::Msi(low_byte(1))));

    // A message that breaks it is searched for as others are, while another one is refused, too.
    vm.on_routes(strict);
    vm.take();
    let edits = [leases[1].edit(low_byte(7)), leases[2].edit(message(GUILTY))];
    assert_eq!(commit(&table, &edits), ["failed", "failed"]);
    assert_eq!(vm.take().len(), 4);

    // The rule is one of x86.
    let vm = Arc::new(Recorder::default());
    let builder = RoutingTable::builder(vm.clone()).wiring(Wiring::none(Platform::Arm64Gic));
    let table = builder.build().unwrap();
    vm.on_routes(strict);
    let leases = self::leases(&table, 2);
    let edits = || [leases[0].edit(low_byte(1)), leases[1].edit(low_byte(2))];
    assert_eq!(commit(&table, &edits()), ["failed", "failed"]);
    assert_eq!(vm.take().len(), 3);
    assert_eq!(commit(&table, &edits()), ["failed", "failed"]);
    assert_eq!(vm.take().len(), 3, "nothing was learned");
}

#[test]
fn the_innocent_edit_of_another_owner_is_found_among_many() {
    for innocent in [0, 700, 2040] {
        let (vm, table) = table();
        vm.on_routes(strict);
        let leases = leases(&table, 2041);
        let edit = |(place, lease): (usize, &GsiLease)| match place == innocent {
            true => lease.edit(message(1)).owned_by(2),
            false => lease.edit(message(GUILTY)).owned_by(1),
        };
        let edits: Vec<_> = leases.iter().enumerate().map(edit).collect();
        let words = commit(&table, &edits);
        assert_eq!(vm.take().len(), 16);
        assert_eq!(words[innocent], "committed");
        assert_eq!(count(&words, "not tried"), 2040);
        assert_eq!(table.routes().len(), 1);
    }
}

/// Each owner gets the results of its own edits only.
#[test]
fn an_innocent_owner_is_found_among_many_that_are_guilty() {
    let (vm, table) = table();
    vm.on_routes(strict);
    let sizes = [1024, 512, 256, 128, 1, 128];
    let leases = leases(&table, sizes.iter().sum());
    let owners = (0u64..).zip(sizes);
    let owners = owners.flat_map(|(owner, size)| std::iter::repeat_n(owner, size));
    let edit = |(lease, owner): (&GsiLease, u64)| {
        let data = if owner == 4 { 1 } else { GUILTY };
        lease.edit(message(data)).owned_by(owner)
    };
    let edits: Vec<_> = leases.iter().zip(owners).map(edit).collect();
    assert_eq!(count(&commit(&table, &edits), "committed"), 1);
    expect(&leases[1920], 1);
    assert_eq!(vm.take().len(), 16);
}

#[test]
fn a_guilty_edit_alone_fails_and_what_was_not_tried_can_come_again() {
    let (vm, table) = table();
    vm.on_routes(strict);
    let leases = leases(&table, 1024);
    for guilty in [0, 77, 127] {
        let mut edits = all(&leases[..128], 1);
        edits[guilty] = leases[guilty].edit(message(GUILTY));
        let words = commit(&table, &edits);
        assert_eq!(count(&words, "committed"), 127);
        assert_eq!(words[guilty], "failed");
        assert_eq!(vm.take().len(), 15, "two for each doubling, and the first");
        let again = leases[guilty].edit(message(2));
        assert_eq!(commit(&table, &[again]), ["committed"]);
        let reset: Vec<_> = all(&leases[..128], guilty as u32 + 100);
        assert_eq!(commit(&table, &reset), ["committed"; 128]);
        vm.take();
    }

    let mut edits = all(&leases, 3);
    edits[0] = leases[0].edit(message(GUILTY));
    let words = commit(&table, &edits);
    assert_eq!(vm.take().len(), 16);
    assert_eq!(words[..8], ["not tried"; 8]);
    assert_eq!(words[8..], ["committed"; 1016]);
    expect(&leases[0], 227);
    let words = commit(&table, &edits[..8]);
    assert_eq!(words[0], "failed");
    assert_eq!(words[1..], ["committed"; 7], "the same edits");
    assert_eq!(vm.take().len(), 7);
}

#[test]
fn a_full_table_takes_as_many_as_fit() {
    let vm = Arc::new(Recorder::default());
    let builder = RoutingTable::builder(vm.clone()).wiring(Wiring::pc());
    let table = builder.build().unwrap();
    table.recommit().unwrap();
    let wired = committed(&vm).pop().unwrap().len();
    let leases: Vec<_> = std::iter::from_fn(|| table.lease_if_free().ok()).collect();
    let fit = 4096 - wired;
    assert!(leases.len() > fit);
    let outcomes = outcomes(&table, &all(&leases, 1));
    let tables = committed(&vm);
    assert_eq!(tables.last().unwrap().len(), 4096);
    assert!(tables.len() <= 16, "{}", tables.len());
    assert_eq!(count(&words(&outcomes), "committed"), fit);
    for (lease, outcome) in leases.iter().zip(&outcomes) {
        match outcome {
            EditOutcome::Committed => expect(lease, 1),
            EditOutcome::Failed(error) => {
                assert!(matches!(**error, Error::TableFull { limit: 4096, .. }));
                expect(lease, None);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_lack_of_memory_or_of_an_irqchip_fails_all_after_one_ioctl() {
    for lacks_irqchip in [false, true] {
        let (vm, table) = table();
        let leases = leases(&table, 100);
        assert_eq!(commit(&table, &all(&leases, 1)), ["committed"; 100]);
        vm.take();
        match lacks_irqchip {
            true => {
                vm.lack_irqchip();
                vm.fail_after(0, EINVAL);
            }
            false => vm.fail_after(0, ENOMEM),
        }
        let mut edits = all(&leases, 2);
        // There is no reason to suspect that this breaks a rule.
        edits[7] = leases[7].edit(low_byte(2));
        for outcome in outcomes(&table, &edits) {
            let EditOutcome::Failed(error) = outcome else {
                panic!("{outcome:?}");
            };
            match lacks_irqchip {
                true => assert!(matches!(*error, Error::NoIrqChip { .. })),
                false => assert!(error.is_transient()),
            }
            assert_eq!(error.is_transient(), !lacks_irqchip);
        }
        assert_eq!(vm.take().len(), 1);
        expect(&leases[50], 1);
        assert_eq!(commit(&table, &edits), ["committed"; 100], "the same edits");
        assert_eq!(vm.take().len(), 1);
    }
}

/// A panic comes after all results.
fn panicking(table: &RoutingTable, edits: &[MessageEdit]) -> (Vec<&'static str>, String) {
    let mut outcomes = Vec::new();
    let commit = AssertUnwindSafe(|| {
        table.commit_each(edits.iter().copied(), |_, outcome| outcomes.push(outcome));
    });
    let panic = catch_unwind(commit).unwrap_err();
    let said = panic.downcast_ref::<String>().unwrap().clone();
    (words(&outcomes), said)
}

#[test]
fn a_panic_of_the_translation_fails_its_edit_alone() {
    let vm = Arc::new(Recorder::default());
    let builder = RoutingTable::builder(vm.clone()).translate(|message| {
        assert!(message.data < 10, "a bug for {}", message.data);
        Some(message)
    });
    let table = builder.build().unwrap();
    let leases = leases(&table, 4);
    let edits: Vec<_> = leases
        .iter()
        .zip([1, 12, 3, 14])
        .map(|(lease, data)| lease.edit(message(data)))
        .collect();
    let (words, said) = panicking(&table, &edits);
    assert_eq!(words, ["committed", "panicked", "committed", "panicked"]);
    assert_eq!(said, "a bug for 12", "the first");
    assert_eq!(vm.take().len(), 1);
    expect(&leases[1], None);
    assert_eq!(commit(&table, &all(&leases, 5)), ["committed"; 4]);
    let (words, _) = panicking(&table, &[leases[0].edit(message(10))]);
    assert_eq!(words, ["panicked"]);
    assert_eq!(vm.take().len(), 1);
}

#[test]
fn a_panic_of_the_vm_fails_its_edit_alone() {
    for guilty in 0..4 {
        let (vm, table) = table();
        vm.on_routes(|entries| {
            let bug = |entry: &RouteEntry| {
                matches!(
                    entry.target,
                    RouteTarget::Msi(MsiMessage { data: GUILTY, .. })
                )
            };
            assert!(!entries.iter().any(bug), "{} entries", entries.len());
            Ok(())
        });
        let leases = leases(&table, 4);
        let mut edits = all(&leases, 1);
        edits[guilty] = leases[guilty].edit(message(GUILTY));
        let (words, _) = panicking(&table, &edits);
        for (place, word) in words.into_iter().enumerate() {
            match place == guilty {
                true => assert_eq!(word, "panicked"),
                false => assert_eq!(word, "committed"),
            }
            expect(&leases[place], (place != guilty).then_some(1));
        }
        assert_eq!(vm.take().len(), 5);
        table.recommit().unwrap();
        assert_eq!(committed(&vm).pop().unwrap().len(), 3);
    }
}

#[test]
fn of_the_edits_of_a_lease_the_one_that_was_staged_last_counts() {
    let (vm, table) = table();
    let lease = table.lease().unwrap();
    let edits = [1, 2, 3, 4, 5].map(|data| lease.edit(message(data)));
    let [one, two, three, four, five] = edits;
    assert_eq!(commit(&table, &[one, two]), ["superseded", "committed"]);
    expect(&lease, 2);
    assert_eq!(commit(&table, &[one]), ["superseded"]);
    assert_eq!(vm.take().len(), 1);
    assert_eq!(commit(&table, &[four, three]), ["committed", "superseded"]);
    expect(&lease, 4);
    assert_eq!(commit(&table, &[three]), ["superseded"]);
    assert_eq!(commit(&table, &[five, five]), ["superseded", "committed"]);
    assert_eq!(vm.take().len(), 2);

    let [six, seven] = [6, GUILTY].map(|data| lease.edit(message(data)));
    vm.on_routes(strict);
    assert_eq!(commit(&table, &[seven, six]), ["failed", "superseded"]);
    expect(&lease, 5);
    assert_eq!(commit(&table, &[six]), ["superseded"]);
    assert_eq!(commit(&table, &[seven]), ["failed"]);
    vm.on_routes(|_| Ok(()));
    assert_eq!(commit(&table, &[seven]), ["committed"]);

    // A line and the lease that it becomes are the same lease.
    let eight = lease.edit(message(8));
    let lease = lease.into_line().unwrap().into_lease().unwrap();
    assert_eq!(commit(&table, &[lease.edit(message(9))]), ["committed"]);
    assert_eq!(commit(&table, &[eight]), ["superseded"]);
    expect(&lease, 9);
}

#[test]
fn an_edit_outlives_its_lease_in_vain() {
    let (vm, table) = table();
    let kept = table.lease().unwrap();
    let dropped = table.lease().unwrap();
    let edit = dropped.edit(message(1));
    drop(dropped);
    let next = table.lease().unwrap();
    let edits = [edit, kept.edit(message(2)), next.edit(message(3))];
    let outcomes = outcomes(&table, &edits);
    assert_eq!(words(&outcomes), ["failed", "committed", "committed"]);
    assert!(matches!(&outcomes[0], EditOutcome::Failed(error)
        if matches!(**error, Error::NotLeased { gsi, .. } if gsi == next.gsi())));
    expect(&next, 3);

    let quarantined = table.lease_msi(message(4)).unwrap();
    let edit = quarantined.edit(message(5));
    let gsi = quarantined.gsi();
    quarantined.into_line().unwrap().quarantine();
    assert_eq!(commit(&table, &[edit]), ["failed"]);
    assert_eq!(table.route(gsi), Some(Route::Msi(message(4))));
    drop(vm);
}

#[test]
fn an_edit_of_another_table_fails_and_the_table_goes_on() {
    let (_, larger) = table();
    let (vm, _) = table();
    vm.answer(Extension::IrqRouting, 64);
    let builder = RoutingTable::builder(vm.clone()).wiring(Wiring::none(Platform::X86));
    let table = builder.build().unwrap();
    // One of the smaller table, and the first one behind it.
    let [near, far] = [30, 64].map(|number| larger.lease_exact(number).unwrap());
    let mine = table.lease().unwrap();
    let edits = [
        near.edit(message(1)),
        far.edit(message(2)),
        mine.edit(message(3)),
    ];
    let outcomes = outcomes(&table, &edits);
    assert_eq!(words(&outcomes), ["failed", "failed", "committed"]);
    assert!(matches!(&outcomes[1], EditOutcome::Failed(error)
        if matches!(**error, Error::GsiOutOfRange { gsi: 64, limit: 64, .. })));
    assert_eq!(vm.take().len(), 1);
    mine.set_route(message(4)).unwrap();
    assert_eq!(vm.take().len(), 1);
}

/// Half of them is out of range; the kernel refuses one of the others by an unknown rule.
#[test]
fn edits_that_have_failed_before_cost_no_ioctl() {
    let (_, larger) = table();
    let vm = Arc::new(Recorder::default());
    vm.has(Platform::X86);
    vm.answer(Extension::IrqRouting, 64);
    vm.on_routes(strict);
    let builder = RoutingTable::builder(vm.clone()).wiring(Wiring::none(Platform::X86));
    let table = builder.build().unwrap();
    let far = [100, 101].map(|number| larger.lease_exact(number).unwrap());
    let near = [(); 2].map(|()| table.lease().unwrap());
    for (far_first, data) in [(true, 1), (false, 2)] {
        let far = far.each_ref().map(|lease| lease.edit(message(data)));
        let near = [near[0].edit(message(data)), near[1].edit(message(GUILTY))];
        let (far_words, near_words) = (["failed"; 2], ["committed", "failed"]);
        let (edits, expected) = if far_first {
            ([far, near].concat(), [far_words, near_words].concat())
        } else {
            ([near, far].concat(), [near_words, far_words].concat())
        };
        assert_eq!(commit(&table, &edits), expected);
        // Both, and each alone.
        assert_eq!(vm.take().len(), 3);
    }
}

#[test]
fn a_lease_that_is_dropped_while_its_edit_is_in_the_kernel_leaves_nothing() {
    let (vm, table) = table();
    let lease = table.lease().unwrap();
    let edit = lease.edit(message(1));
    let gate = Gate::new(&vm, |_| Ok(()));
    let (first, _) = gate.crowd(
        || commit(&table, &[edit]),
        vec![],
        || {
            drop(lease);
            assert_eq!(
                table.lease().unwrap().gsi().number(),
                25,
                "24 is not settled"
            );
        },
    );
    assert_eq!(first.unwrap(), ["committed"]);
    assert_eq!(table.routes(), []);
    table.flush().unwrap();
    assert_eq!(committed(&vm), [vec![24], vec![]]);
}

#[test]
fn answers_are_given_without_a_lock() {
    let (_, table) = table();
    let leases = leases(&table, 3);
    let mut next = 0;
    table.commit_each(all(&leases, 1), |index, _| {
        leases[index].set_route(message(2)).unwrap();
        next += 1;
    });
    assert_eq!(next, 3);
    leases.iter().for_each(|lease| expect(lease, 2));
}

type Caller<'a> = Box<dyn FnOnce() -> Vec<&'static str> + Send + 'a>;

fn transaction<'a>(lease: &GsiLease, message: MsiMessage) -> Caller<'a> {
    let mut transaction = lease.table().transaction();
    transaction.route(lease, message);
    Box::new(move || match transaction.commit() {
        Ok(()) => vec!["done"],
        Err(rejected) => {
            assert!(matches!(rejected.error, Error::Refused { edits: 1, .. }));
            vec!["refused"]
        }
    })
}

fn each<'a>(table: &'a RoutingTable, edits: Vec<MessageEdit>) -> Caller<'a> {
    Box::new(move || commit(table, &edits))
}

/// Callers that share a round after a first commit. Returns the result of each, and the round's
/// ioctls.
fn together<'a>(
    vm: &Recorder,
    first: &GsiLease,
    callers: Vec<Caller<'a>>,
) -> (Vec<Vec<&'static str>>, usize) {
    static NEW: AtomicU32 = AtomicU32::new(5000);
    let gate = Gate::new(vm, strict);
    vm.take();
    let first = transaction(first, message(NEW.fetch_add(1, Ordering::Relaxed)));
    let (first, others) = gate.crowd(first, callers, || {});
    assert_eq!(first.unwrap(), ["done"]);
    (others, vm.take().len() - 1)
}

#[test]
fn a_round_is_shared_with_transactions() {
    let (vm, table) = table();
    let leases = leases(&table, 6);
    let edits = |data: [u32; 2]| {
        let edit = |(lease, data): (&GsiLease, u32)| lease.edit(message(data));
        leases[1..3].iter().zip(data).map(edit).collect::<Vec<_>>()
    };
    let callers = vec![
        transaction(&leases[3], message(1)),
        each(&table, edits([1, 2])),
        transaction(&leases[4], message(3)),
    ];
    let (said, ioctls) = together(&vm, &leases[0], callers);
    assert_eq!(said, [vec!["done"], vec!["committed"; 2], vec!["done"]]);
    assert_eq!(ioctls, 1);

    // A guilty edit fails alone, and no transaction does.
    let callers = vec![
        transaction(&leases[3], message(4)),
        each(&table, edits([5, GUILTY])),
        transaction(&leases[4], message(6)),
    ];
    let (said, ioctls) = together(&vm, &leases[0], callers);
    let expected = [vec!["done"], vec!["committed", "failed"], vec!["done"]];
    assert_eq!(said, expected);
    assert_eq!(
        ioctls, 7,
        "all; the first; the others; each of them; each edit"
    );
    expect(&leases[2], 2);

    // A guilty transaction fails alone, and no edit does.
    let callers = vec![
        transaction(&leases[3], message(GUILTY)),
        each(&table, edits([7, 8])),
        transaction(&leases[4], message(9)),
    ];
    let (said, ioctls) = together(&vm, &leases[0], callers);
    assert_eq!(said, [vec!["refused"], vec!["committed"; 2], vec!["done"]]);
    assert_eq!(ioctls, 3);
    expect(&leases[3], 4);
}

#[test]
fn a_rule_is_learned_beside_transactions() {
    let breaking = |leases: &[GsiLease]| -> Vec<_> {
        let edit = |lease: &GsiLease| lease.edit(low_byte(1));
        leases.iter().map(edit).collect()
    };
    for (guilty, done, ioctls) in [(GUILTY, "refused", 5), (7, "done", 2)] {
        let (vm, table) = table();
        let leases = leases(&table, 103);
        let mut edits = breaking(&leases[3..]);
        edits.insert(50, leases[2].edit(message(2)));
        let callers = vec![
            transaction(&leases[1], message(guilty)),
            each(&table, edits),
        ];
        let (said, counted) = together(&vm, &leases[0], callers);
        assert_eq!(said[0], [done]);
        assert_eq!(said[1][50], "committed");
        assert_eq!(count(&said[1], "failed"), 100);
        assert_eq!(counted, ioctls);
        assert_eq!(commit(&table, &breaking(&leases[3..])), ["failed"; 100]);
        assert!(vm.take().is_empty(), "now it is known");
    }
}

#[test]
fn later_edits_of_a_lease_win_in_a_shared_round() {
    let (vm, table) = table();
    let leases = leases(&table, 2);
    let [old, new] = [1, 2].map(|data| leases[1].edit(message(data)));
    let callers = vec![each(&table, vec![new]), each(&table, vec![old])];
    let (said, ioctls) = together(&vm, &leases[0], callers);
    assert_eq!(said, [["committed"], ["superseded"]]);
    expect(&leases[1], 2);
    assert_eq!(ioctls, 1);

    let [old, new] = [3, 4].map(|data| leases[1].edit(message(data)));
    let callers = vec![each(&table, vec![old]), each(&table, vec![new])];
    let (said, ioctls) = together(&vm, &leases[0], callers);
    assert_eq!(said, [["committed"], ["committed"]]);
    expect(&leases[1], 4);
    assert_eq!(ioctls, 1);
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A VM with a bug.

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use irq_routing::{Error, GsiLease, IrqChip, MsiMessage, Route, RoutingTable};
use kvm_test::{Call, Recorder};
use notify_core::{RouteEntry, RouteTarget};

use crate::crowd::Gate;
use crate::{EINVAL, committed, message, pin, table};

#[test]
fn a_machine_that_panics_in_a_commit_spoils_nothing() {
    let (vm, table) = table();
    let armed = Arc::new(AtomicBool::new(false));
    let arm = |value| armed.store(value, Ordering::Relaxed);
    let bug = Arc::clone(&armed);
    vm.on_routes(move |_| {
        assert!(!bug.load(Ordering::Relaxed), "a bug of the VM");
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
    vm.on_routes(|_| panic!("a bug of the VM"));
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
    assert_eq!(committed(&vm), [Vec::<u32>::new()]);
}

/// The panic leaves the kernel's table unknown, so even an empty one is committed again.
#[test]
fn an_empty_table_that_is_refused_after_a_panic_has_no_message_to_block() {
    let (vm, table) = table();
    let calls = AtomicU32::new(0);
    vm.on_routes(move |_| {
        assert!(calls.fetch_add(1, Ordering::Relaxed) > 0, "a bug of the VM");
        Err(io::Error::from_raw_os_error(EINVAL))
    });
    let commit = AssertUnwindSafe(|| table.recommit());
    assert!(catch_unwind(commit).is_err());
    let refused = table.retranslate().unwrap_err();
    assert!(
        matches!(&refused, Error::Refused { edits: 0, first: None, cause, .. }
            if cause.raw_os_error() == Some(EINVAL)),
        "{refused:?}"
    );
    assert_eq!(vm.take().len(), 2);
}

/// The data of the message at which the VM panics.
const GUILTY: u32 = 0xbad;

#[derive(Clone, Copy, PartialEq)]
enum Bug {
    OfTheTranslation,
    OfTheVm,
}

/// Commits of these messages share a round. Returns the text of each caller's panic, and the
/// routes.
fn commit_together(messages: &[u32], bug: Bug) -> (Vec<Option<&'static str>>, Vec<Option<Route>>) {
    let vm = Arc::new(Recorder::default());
    let builder = RoutingTable::builder(vm.clone()).translate(move |message| {
        let panics = bug == Bug::OfTheTranslation && message.data == GUILTY;
        assert!(!panics, "a bug");
        Some(message)
    });
    let table = builder.build().unwrap();
    let leases: Vec<_> = messages.iter().map(|_| table.lease().unwrap()).collect();
    let first = table.lease().unwrap();
    let gate = Gate::new(&vm, |entries| {
        let guilty = |entry: &RouteEntry| {
            matches!(
                entry.target,
                RouteTarget::Msi(MsiMessage { data: GUILTY, .. })
            )
        };
        assert!(!entries.iter().any(guilty), "a bug");
        Ok(())
    });
    let commit = |(data, lease): (&u32, &GsiLease)| {
        let mut transaction = table.transaction();
        transaction.route(lease, message(*data));
        let commit = AssertUnwindSafe(move || transaction.commit().unwrap());
        move || match catch_unwind(commit) {
            Ok(()) => None,
            Err(payload) => Some(*payload.downcast_ref::<&str>().unwrap_or(&"another panic")),
        }
    };
    let others = messages.iter().zip(&leases).map(commit).collect();
    let (led, panics) = gate.crowd(commit((&7, &first)), others, || {});
    assert_eq!(led.unwrap(), None);
    if bug == Bug::OfTheTranslation {
        assert_eq!(vm.take().len(), 2, "all innocent commits share one table");
    }
    let routes = leases.iter().map(GsiLease::route).collect();
    (panics, routes)
}

#[test]
fn a_panic_hits_the_caller_of_the_message_that_causes_it_alone() {
    let bugs = [Bug::OfTheTranslation, Bug::OfTheVm];
    for (guilty, bug) in (0..4).flat_map(|guilty| bugs.map(|bug| (guilty, bug))) {
        let mut messages = [1, 2, 3, 4];
        messages[guilty] = GUILTY;
        let (panics, routes) = commit_together(&messages, bug);
        for (place, data) in messages.into_iter().enumerate() {
            let (panic, route) = match data {
                GUILTY => (Some("a bug"), None),
                data => (None, Some(Route::Msi(message(data)))),
            };
            assert_eq!((panics[place], routes[place]), (panic, route));
        }
    }
}

/// Two commits go together after a first one, and the VM panics in the table of this number.
/// Returns whether each has ended, and its routes in the table and the kernel.
fn two_together(panics: u32) -> [(bool, u32); 2] {
    let (vm, table) = table();
    let leases = [1; 3].map(|data| table.lease_msi(message(data)).unwrap());
    let tables = AtomicU32::new(0);
    let gate = Gate::new(&vm, move |_| {
        match (tables.fetch_add(1, Ordering::Relaxed), panics) {
            (number, _) if number == panics => panic!("a bug of the VM"),
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
        let RouteTarget::Msi(MsiMessage { data, .. }) = given[place].target else {
            panic!("{given:?}");
        };
        assert_eq!(leases[place].route(), Some(Route::Msi(message(data))));
        data
    };
    [(ended[0], data(1)), (ended[1], data(2))]
}

/// The VM panicked at both together, and at neither by itself.
#[test]
fn a_panic_that_does_not_come_again_fails_no_commit() {
    assert_eq!(two_together(1), [(true, 2), (true, 2)]);
}

/// The two together are refused, the first by itself is carried out, and the second one panics.
#[test]
fn a_panic_among_halves_keeps_what_was_carried_out() {
    assert_eq!(two_together(3), [(true, 2), (false, 1)]);
}

thread_local! {
    static RETRANSLATES: Cell<bool> = const { Cell::new(false) };
}

/// One thread retranslates, and the translation panics if another thread leads that round; a lease
/// is dropped meanwhile. So many callers come before that thread. Returns whether another one led:
/// the scheduler decides, and often it is the first that came.
fn a_round_for_another_panics(before: usize) -> bool {
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
        catch_unwind(AssertUnwindSafe(|| table.retranslate().unwrap())).is_ok()
    });
    let mut others: Vec<_> = leases[1..].iter().map(commit).collect();
    others.insert(before, retranslate);
    let (first, mut others) = gate.crowd(commit(&leases[0]), others, || {});
    assert!(first.unwrap());
    let retranslated = others.remove(before);
    assert!(others.iter().all(|ok| *ok), "no other caller panics");

    armed.store(false, Ordering::Relaxed);
    table.retranslate().unwrap();
    vm.take();
    table.recommit().unwrap();
    let routes = table.routes();
    let mut gsis = committed(&vm).pop().unwrap();
    gsis.sort_unstable();
    let routed: Vec<_> = routes.iter().map(|(gsi, _)| gsi.number()).collect();
    assert_eq!(gsis, routed, "the kernel has what the table has");
    drop(kept);
    !retranslated
}

#[test]
fn a_panic_of_retranslate_is_not_that_of_the_thread_that_leads_its_round() {
    let came_about = (0..1000).any(|round| a_round_for_another_panics(round % 4));
    assert!(came_about, "another thread leads now and then");
}

/// The payload of a panic of the VM, or of an error: its drop panics too.
#[derive(Debug)]
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("a bug in a drop");
        }
    }
}

impl std::fmt::Display for Bomb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("bomb")
    }
}

impl std::error::Error for Bomb {}

/// The payloads of attempts that are repeated by halves are dropped in the middle of the round.
#[test]
fn a_failure_whose_drop_panics_holds_no_caller_up() {
    for panics in [true, false] {
        let (vm, table) = table();
        let leases: Vec<_> = (0..3).map(|_| table.lease().unwrap()).collect();
        let commit = |lease: &GsiLease| {
            let mut transaction = table.transaction();
            transaction.route(lease, message(lease.gsi().number()));
            move || transaction.commit().is_ok()
        };
        let calls = AtomicU32::new(0);
        let gate = Gate::new(&vm, move |_| {
            match (calls.fetch_add(1, Ordering::Relaxed), panics) {
                (1, true) => std::panic::resume_unwind(Box::new(Bomb)),
                (1, false) => Err(io::Error::other(Bomb)),
                _ => Ok(()),
            }
        });
        let others = leases[1..].iter().map(commit).collect();
        let (first, others) = gate.crowd(commit(&leases[0]), others, || {});
        assert!(first.unwrap());
        assert_eq!(others, [true, true]);
        assert_eq!(table.routes().len(), 3);
    }
}

#[test]
fn an_error_whose_drop_panics_ends_the_search_for_a_refused_message_alone() {
    let offset = Arc::new(AtomicU32::new(0));
    let added = Arc::clone(&offset);
    let vm = Arc::new(Recorder::default());
    let builder = RoutingTable::builder(vm.clone()).translate(move |message| {
        let data = message.data + added.load(Ordering::Relaxed);
        Some(MsiMessage { data, ..message })
    });
    let table = builder.build().unwrap();
    let leases = [1, 2, 3].map(|data| table.lease_msi(message(data)).unwrap());
    offset.store(100, Ordering::Relaxed);
    vm.on_routes(|_| Err(io::Error::new(io::ErrorKind::InvalidInput, Bomb)));
    let retranslate = AssertUnwindSafe(|| table.retranslate());
    assert!(catch_unwind(retranslate).is_err());
    vm.on_routes(|_| Ok(()));
    table.retranslate().unwrap();
    drop(leases);
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Callers that commit, arm and retranslate at once, in every order of their threads.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release -p irq-routing --features loom --test loom`
#![cfg(loom)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "loom/parked.rs"]
mod parked;
#[path = "loom/start.rs"]
mod start;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};

use irq_routing::{
    Armed, DrivenLine, EditOutcome, Error, GsiLease, IrqChip, Line, MessageEdit, MsiMessage, Pin,
    Platform, Registration, Route, RoutingTable, Wiring,
};
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
        RouteTarget::Msi(MsiMessage { data, .. }) => Some(data),
        _ => None,
    }
}

/// A VM that refuses the guilty, and the last table that it took.
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

/// The kernel's entries for these GSIs.
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
        let first = Some(one.gsi());
        assert!(
            matches!(guilty, Err(Error::Refused { edits: 1, first: found, .. }) if found == first)
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
            Err(Error::NothingToClaim { gsi, .. }) => assert_eq!(table.unclaimed(), [gsi]),
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

#[test]
fn of_three_callers_one_alone_gets_the_panic_of_its_message() {
    explore(|| {
        let (vm, kernel) = machine();
        let builder = RoutingTable::builder(vm).translate(|message| {
            if message.data == 7 {
                resume_unwind(Box::new("a bug")); // without a text from the hook
            }
            Some(message)
        });
        let table = builder.build().unwrap();
        let committer = |data| {
            let (table, lease) = (table.clone(), table.lease().unwrap());
            thread::spawn(move || {
                let commit = AssertUnwindSafe(|| commit(&table, &lease, data).unwrap());
                (catch_unwind(commit).is_ok(), lease)
            })
        };
        let callers = [7, 2].map(committer);
        let mine = table.lease().unwrap();
        commit(&table, &mine, 3).unwrap();
        let [(guilty, one), (innocent, two)] = callers.map(|caller| caller.join().unwrap());
        assert!(!guilty && innocent);
        let leases = [one, two, mine];
        assert_eq!(in_kernel(&kernel, &leases), [None, Some(2), Some(3)]);
        let routed = |lease: &GsiLease| lease.route().is_some();
        assert_eq!(leases.each_ref().map(routed), [false, true, true]);
    });
}

fn ioapic(pin: u32) -> Pin {
    Pin::new(IrqChip::IoApic, pin).unwrap()
}

fn wire(table: &RoutingTable, gsi: u32, pin: u32) -> Result<(), Error> {
    let mut transaction = table.transaction();
    transaction.wire(table.gsi(gsi).unwrap(), ioapic(pin));
    Ok(transaction.commit()?)
}

/// A pin that the kernel refuses.
const GUILTY_PIN: u32 = 13;

/// A VM that refuses the guilty pin, with GSI 10 on the pin of its number.
fn wired() -> (RoutingTable, Arc<Mutex<Vec<RouteEntry>>>) {
    let (vm, kernel) = (Arc::new(Recorder::default()), Arc::default());
    vm.has(Platform::X86);
    let taken: Arc<Mutex<_>> = Arc::clone(&kernel);
    vm.on_routes(move |entries| {
        if entries
            .iter()
            .any(|entry| pin_of(entry) == Some(GUILTY_PIN))
        {
            return Err(io::Error::from_raw_os_error(22));
        }
        *taken.lock().unwrap() = entries.to_vec();
        Ok(())
    });
    let builder = RoutingTable::builder(vm).wiring(Wiring::none(Platform::X86));
    let table = builder.build().unwrap();
    wire(&table, 10, 10).unwrap();
    (table, kernel)
}

fn pin_of(entry: &RouteEntry) -> Option<u32> {
    match entry.target {
        RouteTarget::Pin { pin, .. } => Some(pin),
        _ => None,
    }
}

fn drive(table: &RoutingTable) -> Result<DrivenLine, Error> {
    Ok(table.line(10).unwrap().drive()?)
}

/// The GSIs that the kernel routes to a pin.
fn on_pin(kernel: &Mutex<Vec<RouteEntry>>, pin: u32) -> Vec<u32> {
    let kernel = kernel.lock().unwrap();
    let there = kernel.iter().filter(|entry| pin_of(entry) == Some(pin));
    there.map(|entry| entry.gsi).collect()
}

/// Commits a message in another thread: while that commit is in the kernel, other requests meet in
/// the queue.
fn keep_busy(table: &RoutingTable) -> thread::JoinHandle<()> {
    let (table, lease) = (table.clone(), table.lease().unwrap());
    thread::spawn(move || commit(&table, &lease, 1).unwrap())
}

#[test]
fn a_pin_is_driven_or_shared() {
    explore(|| {
        let (table, kernel) = wired();
        let other = table.clone();
        let busy = keep_busy(&table);
        let wirer = thread::spawn(move || wire(&other, 30, 10));
        let driven = drive(&table);
        let shared = wirer.join().unwrap();
        match (&driven, &shared) {
            (Ok(_), Err(Error::PinShared { gsi, other, .. })) => {
                assert_eq!((gsi.number(), other.number()), (10, 30));
                assert_eq!(on_pin(&kernel, 10), [10]);
            }
            (Err(Error::PinShared { gsi, other, .. }), Ok(())) => {
                assert_eq!((gsi.number(), other.number()), (10, 30));
                assert_eq!(on_pin(&kernel, 10), [10, 30]);
            }
            other => unreachable!("{other:?}"),
        }
        busy.join().unwrap();
    });
}

#[test]
fn a_line_has_one_driver() {
    explore(|| {
        let (table, _) = wired();
        let other = table.clone();
        let other = thread::spawn(move || drive(&other));
        let (mine, theirs) = (drive(&table), other.join().unwrap());
        match (mine, theirs) {
            (Ok(driven), Err(Error::AlreadyDriven { .. }))
            | (Err(Error::AlreadyDriven { .. }), Ok(driven)) => drop(driven),
            other => unreachable!("{other:?}"),
        }
        drop(drive(&table).unwrap());
    });
}

#[test]
fn the_route_of_a_dropped_lease_is_gone_when_its_pin_is_driven() {
    explore(|| {
        let (table, kernel) = wired();
        let lease = table.lease().unwrap();
        lease.set_route(ioapic(10)).unwrap();
        let gsi = lease.gsi();
        let dropper = thread::spawn(move || drop(lease));
        match drive(&table) {
            Ok(driven) => {
                assert_eq!(on_pin(&kernel, 10), [10]);
                drop(driven);
            }
            Err(Error::PinShared { other, .. }) => assert_eq!(other, gsi),
            Err(error) => unreachable!("{error}"),
        }
        dropper.join().unwrap();
    });
}

/// The driven line leaves its pin and another GSI is routed there, or both are routed to a free
/// pin. The kernel may refuse the line's change.
#[test]
fn a_driven_line_that_moves_never_shares_a_pin() {
    for (to, others) in [(GUILTY_PIN, 10), (11, 10), (11, 11)] {
        explore(move || {
            let (table, kernel) = wired();
            let driven = drive(&table).unwrap();
            let busy = keep_busy(&table);
            let other = table.clone();
            let other = thread::spawn(move || wire(&other, 30, others));
            let moved = wire(&table, 10, to);
            let shared = other.join().unwrap();
            let pin = match moved {
                Ok(()) => to,
                Err(Error::Refused { .. } | Error::PinShared { .. }) => 10,
                Err(error) => unreachable!("{error}"),
            };
            assert_eq!(on_pin(&kernel, pin), [10]);
            let expected = if shared.is_ok() { vec![30] } else { vec![] };
            assert!(others == pin || on_pin(&kernel, others) == expected);
            busy.join().unwrap();
            drop(driven);
        });
    }
}

fn commit_each(table: &RoutingTable, edits: &[MessageEdit]) -> Vec<EditOutcome> {
    let mut outcomes = Vec::new();
    table.commit_each(edits.iter().copied(), |_, outcome| outcomes.push(outcome));
    outcomes
}

#[test]
fn of_two_edits_of_a_lease_the_later_wins_whoever_commits_first() {
    explore(|| {
        let (vm, kernel) = machine();
        let table = RoutingTable::new(vm.clone()).unwrap();
        let [lease, other] = [(); 2].map(|()| table.lease().unwrap());
        let [one, two] = [1, 2].map(|data| lease.edit(message(data)));
        let busy = keep_busy(&table);
        let committer = table.clone();
        let earlier = thread::spawn(move || commit_each(&committer, &[one]));
        // A guilty edit requires a search for it.
        let later = commit_each(&table, &[two, other.edit(message(GUILTY))]);
        let earlier = earlier.join().unwrap();
        assert!(matches!(
            later[..],
            [EditOutcome::Committed, EditOutcome::Failed(_)]
        ));
        assert!(matches!(
            earlier[..],
            [EditOutcome::Committed | EditOutcome::Superseded]
        ));
        assert_eq!(lease.route(), Some(Route::Msi(message(2))));
        let leases = [lease, other];
        assert_eq!(in_kernel(&kernel, &leases), [Some(2), None]);
        busy.join().unwrap();
    });
}

/// Whether GSI 24 is armed, and whether the kernel has an entry for it.
#[derive(Default)]
struct Armament {
    bound: AtomicBool,
    has_entry: AtomicBool,
    /// Whether it was ever armed without an entry.
    lost: AtomicBool,
}

impl Armament {
    fn check(&self) {
        let lost = self.bound.load(Ordering::SeqCst) && !self.has_entry.load(Ordering::SeqCst);
        self.lost.fetch_or(lost, Ordering::SeqCst);
    }
}

/// A device's irqfd.
struct Irqfd {
    /// Whether the message is blocked.
    blocked: loom::sync::Mutex<bool>,
    armament: Arc<Armament>,
}

impl Irqfd {
    fn set(&self, bound: bool) {
        self.armament.bound.store(bound, Ordering::SeqCst);
        self.armament.check();
    }

    /// Registers it and arms it, if the message is not blocked.
    fn register(self: &Arc<Self>, line: &Line) -> Registration {
        let mut blocked = self.blocked.lock().unwrap();
        let weak: Weak<Self> = Arc::downgrade(self);
        let (registration, is_blocked) = line.register(weak);
        *blocked = is_blocked;
        thread::yield_now();
        if !is_blocked {
            self.set(true);
        }
        registration
    }
}

impl Armed for Irqfd {
    fn disarm(&self) -> bool {
        *self.blocked.lock().unwrap() = true;
        self.set(false);
        true
    }

    fn rearm(&self) {
        let mut blocked = self.blocked.lock().unwrap();
        *blocked = false;
        self.set(true);
    }
}

/// A table with a translation that blocks all messages while the number is not zero, with a line
/// for two irqfds.
fn armory() -> (RoutingTable, Line, [Arc<Irqfd>; 2], Arc<AtomicU32>) {
    let (vm, blocks) = (Arc::new(Recorder::default()), Arc::new(AtomicU32::new(0)));
    let armaments: [Arc<Armament>; 2] = Default::default();
    let (kernel, number) = (armaments.clone(), Arc::clone(&blocks));
    vm.on_routes(move |entries| {
        let has_entry = entries.iter().any(|entry| entry.gsi == 24);
        for armament in &kernel {
            armament.has_entry.store(has_entry, Ordering::SeqCst);
            armament.check();
        }
        Ok(())
    });
    let builder = RoutingTable::builder(vm).wiring(Wiring::none(Platform::X86));
    let builder =
        builder.translate(move |message| (number.load(Ordering::SeqCst) == 0).then_some(message));
    let table = builder.build().unwrap();
    let lease = table.lease_exact(24).unwrap();
    lease.set_route(message(1)).unwrap();
    let irqfds = armaments.map(|armament| {
        let blocked = loom::sync::Mutex::new(false);
        Arc::new(Irqfd { blocked, armament })
    });
    let line = lease.into_line().unwrap();
    (table, line, irqfds, blocks)
}

fn translate(table: &RoutingTable, blocks: &AtomicU32, number: u32) {
    blocks.store(number, Ordering::SeqCst);
    match table.retranslate() {
        Ok(()) | Err(Error::RouteHeld { .. }) => {}
        Err(error) => unreachable!("{error}"),
    }
}

#[test]
fn nothing_is_armed_without_an_entry() {
    for other_first in [false, true] {
        explore(move || {
            let (table, line, [irqfd, other], blocks) = armory();
            // Without `first` the line alone holds its route, unless this thread registers first.
            let first = other_first.then(|| other.register(&line));
            let translator = table.clone();
            let blocker = thread::spawn(move || {
                translate(&translator, &blocks, 1);
                blocks
            });
            let registration = irqfd.register(&line);
            let blocks = blocker.join().unwrap();
            let armament = &irqfd.armament;
            let bound = armament.bound.load(Ordering::SeqCst);
            assert_eq!(bound, armament.has_entry.load(Ordering::SeqCst));
            translate(&table, &blocks, 0);
            assert!(armament.bound.load(Ordering::SeqCst));
            assert!(!armament.lost.load(Ordering::SeqCst));
            assert!(!other.armament.lost.load(Ordering::SeqCst));
            drop((first, registration, line));
        });
    }
}

#[test]
fn what_is_registered_while_its_message_is_let_through_is_armed() {
    explore(|| {
        let (table, line, [irqfd, second], blocks) = armory();
        let first = irqfd.register(&line);
        translate(&table, &blocks, 1);
        let armament = Arc::clone(&irqfd.armament);
        assert!(!armament.bound.load(Ordering::SeqCst));
        let translator = table.clone();
        let unblocker = thread::spawn(move || translate(&translator, &blocks, 0));
        let registration = second.register(&line);
        unblocker.join().unwrap();
        for irqfd in [&irqfd, &second] {
            assert!(irqfd.armament.bound.load(Ordering::SeqCst));
            assert!(!irqfd.armament.lost.load(Ordering::SeqCst));
        }
        drop((first, registration, line));
    });
}

#[test]
fn what_is_armed_goes_while_its_message_is_blocked() {
    explore(|| {
        let (table, line, [irqfd, _], blocks) = armory();
        let registration = irqfd.register(&line);
        let armament = Arc::clone(&irqfd.armament);
        let translator = table.clone();
        let blocker = thread::spawn(move || translate(&translator, &blocks, 1));
        let _ = irqfd.disarm();
        drop(registration);
        drop((irqfd, line));
        blocker.join().unwrap();
        assert!(!armament.lost.load(Ordering::SeqCst));
        assert!(!armament.bound.load(Ordering::SeqCst));
        assert_eq!(table.leased(), 0);
    });
}

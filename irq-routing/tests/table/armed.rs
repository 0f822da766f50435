// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Before an entry is removed its GSI is disarmed; when there is an entry again, it is rearmed.

use std::collections::BTreeSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};

use irq_routing::{
    Armed, EditOutcome, Error, KernelRoute, Line, MsiMessage, Platform, Registration, Route,
    RoutingTable, Wiring,
};
use kvm_test::Recorder;
use notify_core::{RouteEntry, RouteTarget};

use crate::{EINVAL, message};

const ENOMEM: i32 = 12;
/// Translated data of and above this is blocked.
const BLOCKED: u32 = 1000;
/// The translated data of a message that the kernel refuses.
const GUILTY: u32 = 666;
/// The translated data of a message at which the VM panics, after the kernel has the table.
const BUG: u32 = 777;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Event {
    Disarm(u32),
    Rearm(u32),
    /// The GSIs of a table that the kernel took.
    Table(Vec<u32>),
    /// The errno of a table that it refused.
    Refused(i32),
}
use Event::{Disarm, Rearm, Refused, Table};

/// A kernel, and what is armed there.
#[derive(Default)]
struct Kernel {
    routed: BTreeSet<u32>,
    bound: BTreeSet<u32>,
    events: Vec<Event>,
}

impl Kernel {
    fn check(&self) {
        let lost: Vec<_> = self.bound.difference(&self.routed).collect();
        assert!(lost.is_empty(), "armed without a route: {lost:?}");
    }
}

struct Setup {
    vm: Arc<Recorder>,
    table: RoutingTable,
    /// Added to the data of every message.
    offset: Arc<AtomicU32>,
    errno: Arc<AtomicU32>,
    kernel: Arc<Mutex<Kernel>>,
}

fn setup() -> Setup {
    let (vm, offset, errno) = (
        Arc::new(Recorder::default()),
        Arc::default(),
        Arc::default(),
    );
    let kernel: Arc<Mutex<Kernel>> = Arc::default();
    let added: Arc<AtomicU32> = Arc::clone(&offset);
    let translate = move |mut message: MsiMessage| {
        message.data += added.load(Ordering::Relaxed);
        (message.data < BLOCKED).then_some(message)
    };
    let (taken, fails): (_, Arc<AtomicU32>) = (Arc::clone(&kernel), Arc::clone(&errno));
    vm.on_routes(move |entries| {
        let has = |wanted: u32| {
            let is = |entry: &RouteEntry| match entry.target {
                RouteTarget::Msi(message) => message.data == wanted,
                _ => false,
            };
            entries.iter().any(is)
        };
        let errno = match fails.swap(0, Ordering::Relaxed) {
            0 if has(GUILTY) => EINVAL,
            errno => errno as i32,
        };
        let mut kernel = taken.lock().unwrap();
        if errno != 0 {
            kernel.events.push(Refused(errno));
            return Err(io::Error::from_raw_os_error(errno));
        }
        kernel.routed = entries.iter().map(|entry| entry.gsi).collect();
        let table = Table(kernel.routed.iter().copied().collect());
        kernel.events.push(table);
        kernel.check();
        drop(kernel);
        assert!(!has(BUG), "a bug of the VM");
        Ok(())
    });
    let builder = RoutingTable::builder(vm.clone()).wiring(Wiring::none(Platform::X86));
    let table = builder.translate(translate).build().unwrap();
    Setup {
        vm,
        table,
        offset,
        errno,
        kernel,
    }
}

impl Setup {
    fn translate_by(&self, offset: u32) -> Result<(), Error> {
        self.offset.store(offset, Ordering::Relaxed);
        self.table.retranslate()
    }

    fn line(&self, data: u32) -> Line {
        let lease = self.table.lease_msi(message(data)).unwrap();
        lease.into_line().unwrap()
    }

    /// A line with an irqfd.
    fn armed(&self, data: u32) -> (Arc<Irqfd>, Line, Registration) {
        let line = self.line(data);
        let (irqfd, registration) = self.register(&line);
        (irqfd, line, registration)
    }

    fn register(&self, line: &Line) -> (Arc<Irqfd>, Registration) {
        let irqfd = Arc::new(Irqfd {
            gsi: line.gsi().number(),
            table: self.table.clone(),
            kernel: Arc::clone(&self.kernel),
            stuck: AtomicBool::new(false),
        });
        let weak: Weak<Irqfd> = Arc::downgrade(&irqfd);
        let (registration, blocked) = line.register(weak);
        if !blocked {
            irqfd.arm();
        }
        self.events();
        (irqfd, registration)
    }

    fn events(&self) -> Vec<Event> {
        std::mem::take(&mut self.kernel.lock().unwrap().events)
    }

    fn is_bound(&self, gsi: u32) -> bool {
        self.kernel.lock().unwrap().bound.contains(&gsi)
    }

    fn edit(&self, line: &Line, data: u32) -> EditOutcome {
        let edit = line.lease().unwrap().edit(message(data));
        let mut given = None;
        self.table
            .commit_each([edit], |_, outcome| given = Some(outcome));
        given.unwrap()
    }

    fn is_blocked(&self, line: &Line) -> bool {
        self.table.kernel_route(line.gsi()) == KernelRoute::Blocked
    }
}

struct Irqfd {
    gsi: u32,
    table: RoutingTable,
    kernel: Arc<Mutex<Kernel>>,
    /// Whether the irqfd cannot be disarmed.
    stuck: AtomicBool,
}

impl Irqfd {
    fn arm(&self) {
        let mut kernel = self.kernel.lock().unwrap();
        kernel.bound.insert(self.gsi);
        kernel.check();
    }
}

impl Armed for Irqfd {
    fn disarm(&self) -> bool {
        // No lock is held.
        drop(self.table.lease());
        let mut kernel = self.kernel.lock().unwrap();
        kernel.events.push(Disarm(self.gsi));
        let stuck = self.stuck.load(Ordering::Relaxed);
        if !stuck {
            kernel.bound.remove(&self.gsi);
        }
        !stuck
    }

    fn rearm(&self) {
        drop(self.table.lease());
        self.kernel.lock().unwrap().events.push(Rearm(self.gsi));
        self.arm();
    }
}

/// Each way in which a message can become blocked.
fn block(setup: &Setup, line: &Line, way: usize) -> Result<(), Error> {
    match way {
        0 => setup.translate_by(BLOCKED),
        1 => {
            let mut transaction = setup.table.transaction();
            transaction.route(line.lease().unwrap(), message(BLOCKED));
            Ok(transaction.commit()?)
        }
        _ => match setup.edit(line, BLOCKED) {
            EditOutcome::Blocked => Ok(()),
            EditOutcome::Failed(error) => Err(Arc::try_unwrap(error).unwrap()),
            other => panic!("{other:?}"),
        },
    }
}

const WAYS: std::ops::Range<usize> = 0..3;

#[test]
fn what_is_armed_is_disarmed_before_its_entry_goes_and_rearmed_after_it_comes() {
    for way in WAYS {
        let setup = setup();
        let (_irqfd, line, _registration) = setup.armed(1);
        assert!(setup.is_bound(24));
        block(&setup, &line, way).unwrap();
        assert_eq!(setup.events(), [Disarm(24), Table(vec![])]);
        assert!(setup.is_blocked(&line) && !setup.is_bound(24));

        let (other, other_registration) = setup.register(&line);
        assert!(!setup.is_bound(24), "the message is blocked when it comes");
        drop((other_registration, other));
        block(&setup, &line, way).unwrap();
        assert!(setup.events().is_empty(), "it is blocked already");

        match way {
            0 => setup.translate_by(1).unwrap(),
            1 => line.lease().unwrap().set_route(message(2)).unwrap(),
            _ => assert!(matches!(setup.edit(&line, 2), EditOutcome::Committed)),
        }
        assert_eq!(setup.events(), [Table(vec![24]), Rearm(24)]);
        assert!(!setup.is_blocked(&line) && setup.is_bound(24));
    }
}

#[test]
fn what_was_disarmed_for_a_commit_that_fails_is_rearmed() {
    for way in WAYS {
        let setup = setup();
        let (_irqfd, line, _registration) = setup.armed(1);
        setup.errno.store(ENOMEM as u32, Ordering::Relaxed);
        let error = block(&setup, &line, way).unwrap_err();
        assert!(error.is_transient(), "{error:?}");
        assert_eq!(setup.events(), [Disarm(24), Refused(ENOMEM), Rearm(24)]);
        assert!(!setup.is_blocked(&line) && setup.is_bound(24));
        assert_eq!(setup.table.route(line.gsi()), Some(Route::Msi(message(1))));
    }
}

#[test]
fn the_route_of_what_cannot_be_disarmed_stays_and_others_go() {
    for way in WAYS {
        let setup = setup();
        let (irqfd, line, _registration) = setup.armed(1);
        let (_second, _second_registration) = setup.register(&line);
        irqfd.stuck.store(true, Ordering::Relaxed);
        let error = block(&setup, &line, way).unwrap_err();
        assert!(
            matches!(error, Error::RouteHeld { gsi, .. } if gsi == line.gsi()),
            "{error:?}"
        );
        assert!(setup.is_bound(24) && !setup.is_blocked(&line));
        let events = setup.events();
        assert_eq!(events.last(), Some(&Rearm(24)));
        assert!(!events.iter().any(|event| matches!(event, Table(_))));
        assert_eq!(setup.table.route(line.gsi()), Some(Route::Msi(message(1))));

        // Others do not have to wait.
        let (_other, other_line, _other_registration) = setup.armed(100);
        let free = setup.table.lease_msi(message(0)).unwrap();
        setup.events();
        assert!(setup.translate_by(BLOCKED - 1).is_err());
        assert!(setup.is_blocked(&other_line) && !setup.is_blocked(&line));
        let table = |event: &Event| matches!(event, Table(gsis) if *gsis == [24, 26]);
        assert!(setup.events().iter().any(table));
        let edits = [
            line.lease().unwrap().edit(message(2)),
            other_line.lease().unwrap().edit(message(0)),
            free.edit(message(3)),
        ];
        let mut outcomes = Vec::new();
        setup
            .table
            .commit_each(edits, |_, outcome| outcomes.push(outcome));
        assert!(
            matches!(&outcomes[..], [EditOutcome::Failed(error), EditOutcome::Committed,
            EditOutcome::Blocked]
                if matches!(**error, Error::RouteHeld { .. })),
            "{outcomes:?}"
        );
    }
}

#[test]
fn a_transaction_that_was_held_can_come_again() {
    let setup = setup();
    let (irqfd, line, _registration) = setup.armed(1);
    irqfd.stuck.store(true, Ordering::Relaxed);
    let mut transaction = setup.table.transaction();
    transaction.route(line.lease().unwrap(), message(BLOCKED));
    let rejected = transaction.commit().unwrap_err();
    assert!(matches!(rejected.error, Error::RouteHeld { .. }));
    assert_eq!(setup.events(), [Disarm(24), Rearm(24)]);
    irqfd.stuck.store(false, Ordering::Relaxed);
    rejected.value.commit().unwrap();
    assert_eq!(setup.events(), [Disarm(24), Table(vec![])]);
    let route = Some(Route::Msi(message(BLOCKED)));
    assert_eq!(setup.table.route(line.gsi()), route);
}

#[test]
fn a_panic_of_disarm_or_rearm_holds_no_other_up() {
    struct Broken(AtomicBool);
    impl Armed for Broken {
        fn disarm(&self) -> bool {
            assert!(!self.0.load(Ordering::Relaxed), "a bug");
            true
        }
        fn rearm(&self) {
            panic!("a bug");
        }
    }
    let setup = setup();
    let line = setup.line(1);
    let broken = Arc::new(Broken(AtomicBool::new(true)));
    let weak: Weak<Broken> = Arc::downgrade(&broken);
    let (_registration, _) = line.register(weak);
    let (_irqfd, _other) = setup.register(&line);
    let held = block(&setup, &line, 0).unwrap_err();
    assert!(matches!(held, Error::RouteHeld { .. }));
    broken.0.store(false, Ordering::Relaxed);
    block(&setup, &line, 0).unwrap();
    setup.events();
    setup.translate_by(0).unwrap();
    assert_eq!(setup.events(), [Table(vec![24]), Rearm(24)]);
}

#[test]
fn a_line_with_nothing_registered_holds_its_route() {
    for way in WAYS {
        let setup = setup();
        let line = setup.line(1);
        let (irqfd, registration) = setup.register(&line);
        drop(registration);
        let held = block(&setup, &line, way).unwrap_err();
        assert!(
            matches!(held, Error::RouteHeld { gsi, .. } if gsi == line.gsi()),
            "{held:?}"
        );
        // A dropped line may stay armed until its registration has gone, too.
        let (other, _registration) = setup.register(&line);
        drop(other);
        let held = block(&setup, &line, way).unwrap_err();
        assert!(matches!(held, Error::RouteHeld { .. }), "{held:?}");
        let (_live, _live_registration) = setup.register(&line);
        let held = block(&setup, &line, way).unwrap_err();
        assert!(matches!(held, Error::RouteHeld { .. }), "{held:?}");
        assert_eq!(setup.table.route(line.gsi()), Some(Route::Msi(message(1))));
        assert!(setup.events().is_empty() && setup.is_bound(24));
        // Without a line nothing is armed.
        setup.kernel.lock().unwrap().bound.clear();
        let lease = line.into_lease().unwrap();
        lease.set_route(message(BLOCKED)).unwrap();
        drop(irqfd);
    }
}

#[test]
fn a_route_that_is_blocked_already_is_taken_from_no_line() {
    let setup = setup();
    let lease = setup.table.lease_msi(message(BLOCKED)).unwrap();
    let line = lease.into_line().unwrap();
    let quarantined = setup.table.lease_msi(message(BLOCKED)).unwrap();
    quarantined.into_line().unwrap().quarantine();
    setup.translate_by(1).unwrap();
    line.lease()
        .unwrap()
        .set_route(message(BLOCKED + 1))
        .unwrap();
    assert!(matches!(setup.edit(&line, BLOCKED), EditOutcome::Blocked));
}

#[test]
fn the_route_of_a_gsi_in_quarantine_stays_and_others_are_in_force() {
    let setup = setup();
    let (irqfd, line, _registration) = setup.armed(1);
    let gsi = line.gsi();
    let (_other, _other_line, _other_registration) = setup.armed(0);
    let free = setup.table.lease_msi(message(0)).unwrap();
    line.quarantine();
    setup.events();
    let held = setup.translate_by(BLOCKED - 1).unwrap_err();
    assert!(matches!(held, Error::RouteHeld { gsi: held, .. } if held == gsi));
    assert_eq!(setup.events(), [Table(vec![24, 25, 26])]);
    setup.translate_by(BLOCKED - 1).unwrap_err();
    assert!(setup.events().is_empty(), "nothing has changed");
    let held = setup.translate_by(BLOCKED).unwrap_err();
    assert!(matches!(held, Error::RouteHeld { gsi: held, .. } if held == gsi));
    assert_eq!(setup.events(), [Disarm(25), Table(vec![24])]);
    setup.translate_by(0).unwrap();
    drop((irqfd, free));
}

#[test]
fn a_translation_that_the_kernel_refuses_disarms_its_gsi_alone() {
    let setup = setup();
    let armed = [1, 2, 3].map(|data| setup.armed(data));
    let error = setup.translate_by(GUILTY - 2).unwrap_err();
    assert!(matches!(error, Error::Untranslated { blocked, .. } if blocked == [armed[1].1.gsi()]));
    let expected = [
        Refused(EINVAL),
        Table(vec![24, 25, 26]),
        Refused(EINVAL),
        Disarm(25),
        Table(vec![24, 26]),
        Table(vec![24, 26]),
    ];
    let events = setup.events();
    assert_eq!(events[events.len() - 3..], expected[3..], "{events:?}");
    assert_eq!(
        events
            .iter()
            .filter(|event| matches!(event, Disarm(_)))
            .count(),
        1
    );
    assert!([24, 26].into_iter().all(|gsi| setup.is_bound(gsi)) && !setup.is_bound(25));
    assert!(setup.is_blocked(&armed[1].1));
    setup.translate_by(0).unwrap();
    assert_eq!(setup.events(), [Table(vec![24, 25, 26]), Rearm(25)]);

    // As an old translation stays in force, the caller must get this error.
    armed[1].0.stuck.store(true, Ordering::Relaxed);
    let held = setup.translate_by(GUILTY - 2).unwrap_err();
    assert!(matches!(held, Error::RouteHeld { gsi, .. } if gsi == armed[1].1.gsi()));
    assert!(setup.is_bound(25) && !setup.is_blocked(&armed[1].1));
    setup.translate_by(GUILTY - 1).unwrap_err();
    armed[1].0.stuck.store(false, Ordering::Relaxed);
    setup.translate_by(0).unwrap();

    armed[0].0.stuck.store(true, Ordering::Relaxed);
    let blocks_the_first = setup.table.lease_msi(message(0)).unwrap();
    assert!(matches!(
        setup.edit(&armed[0].1, GUILTY + 1),
        EditOutcome::Committed
    ));
    assert!(matches!(
        setup.edit(&armed[1].1, GUILTY - 400),
        EditOutcome::Committed
    ));
    let held = setup.translate_by(400).unwrap_err();
    assert!(
        matches!(held, Error::RouteHeld { gsi, .. } if gsi == armed[0].1.gsi()),
        "{held:?}"
    );
    assert!(setup.is_blocked(&armed[1].1), "the other one is blocked");
    drop(blocks_the_first);
}

/// The kernel may or may not have the table at which the VM panicked.
#[test]
fn after_a_panic_of_the_vm_nothing_is_armed_until_the_table_is_known() {
    for retranslate in [false, true] {
        let setup = setup();
        let (_irqfd, line, _registration) = setup.armed(1);
        let (_other, other, _other_registration) = setup.armed(2);
        let mut transaction = setup.table.transaction();
        transaction.route(line.lease().unwrap(), message(BLOCKED));
        transaction.route(other.lease().unwrap(), message(BUG));
        let commit = AssertUnwindSafe(|| transaction.commit());
        assert!(catch_unwind(commit).is_err());
        assert_eq!(setup.events(), [Disarm(24), Table(vec![25])]);
        assert!(!setup.is_bound(24), "the kernel has no entry");
        let (_late, _late_registration) = setup.register(&line);
        assert!(!setup.is_bound(24));
        match retranslate {
            true => setup.table.retranslate().unwrap(),
            false => setup.table.flush().unwrap(),
        }
        let events = setup.events();
        assert_eq!(events, [Table(vec![24, 25]), Rearm(24), Rearm(24)]);
        assert!(!setup.is_blocked(&line));
    }
}

#[test]
fn a_lease_that_is_dropped_while_it_is_blocked_leaves_no_mark() {
    let setup = setup();
    let (irqfd, line, registration) = setup.armed(1);
    block(&setup, &line, 1).unwrap();
    drop((registration, line, irqfd));
    setup.events();
    let line = setup.line(2);
    assert_eq!(line.gsi().number(), 24);
    assert!(!setup.is_blocked(&line));
    assert_eq!(setup.events(), [Table(vec![24])], "nothing old is rearmed");
    let (_irqfd, _registration) = setup.register(&line);
    assert!(setup.is_bound(24));
}

/// Drops the last reference to itself when it is called. Its drop takes a lock of the table, and
/// may panic.
struct Last {
    me: Mutex<Option<Arc<Last>>>,
    at_rearm: bool,
    panics: bool,
    table: RoutingTable,
}

impl Armed for Last {
    fn disarm(&self) -> bool {
        let me = if self.at_rearm {
            None
        } else {
            self.me.lock().unwrap().take()
        };
        drop(me);
        true
    }

    fn rearm(&self) {
        let me = self.me.lock().unwrap().take();
        drop(me);
    }
}

impl Drop for Last {
    fn drop(&mut self) {
        drop(self.table.lease());
        assert!(!self.panics, "a bug in a drop");
    }
}

#[test]
fn the_last_reference_to_what_is_armed_may_be_that_of_a_commit() {
    for (at_rearm, panics) in [(false, false), (false, true), (true, false), (true, true)] {
        let setup = setup();
        let line = setup.line(1);
        let last = Arc::new(Last {
            me: Mutex::new(None),
            at_rearm,
            panics,
            table: setup.table.clone(),
        });
        let dropped: Weak<Last> = Arc::downgrade(&last);
        let weak: Weak<Last> = Weak::clone(&dropped);
        let (_registration, _) = line.register(weak);
        *last.me.lock().unwrap() = Some(Arc::clone(&last));
        drop(last);
        block(&setup, &line, 0).unwrap();
        assert_eq!(dropped.strong_count(), usize::from(at_rearm));
        setup.translate_by(0).unwrap();
        assert_eq!(dropped.strong_count(), 0);
        setup.table.recommit().unwrap();
    }
}

#[test]
fn nothing_leaks_when_registrations_are_dropped() {
    let setup = setup();
    let (irqfd, line, registration) = setup.armed(1);
    let counts = || (Arc::strong_count(&irqfd), Arc::weak_count(&irqfd));
    assert_eq!(counts(), (1, 1));
    block(&setup, &line, 0).unwrap();
    setup.translate_by(0).unwrap();
    assert_eq!(counts(), (1, 1));
    drop(registration);
    assert_eq!(counts(), (1, 0));
    drop((line, irqfd));
    let vm = Arc::clone(&setup.vm);
    let kernel = Arc::downgrade(&setup.kernel);
    drop(setup);
    assert_eq!(Arc::strong_count(&vm), 1, "the table is gone");
    drop(vm);
    assert!(kernel.upgrade().is_none());
}

/// Counts its calls, and panics on request.
struct Sender {
    calls: AtomicU32,
    panics: AtomicBool,
    table: RoutingTable,
}

impl Sender {
    fn retranslate(&self) {
        drop(self.table.lease());
        self.calls.fetch_add(1, Ordering::Relaxed);
        assert!(!self.panics.load(Ordering::Relaxed), "a bug of a sender");
    }
}

#[test]
fn what_sends_messages_of_its_own_is_called_by_every_retranslation() {
    let setup = setup();
    let lease = setup.table.lease_msi(message(1)).unwrap();
    let senders = [(); 2].map(|()| {
        Arc::new(Sender {
            calls: AtomicU32::new(0),
            panics: AtomicBool::new(false),
            table: setup.table.clone(),
        })
    });
    let register = |sender: &Arc<Sender>| {
        let weak: Weak<Sender> = Arc::downgrade(sender);
        setup.table.on_retranslate(move || {
            if let Some(sender) = weak.upgrade() {
                sender.retranslate();
            }
        })
    };
    let mut registrations: Vec<_> = senders.iter().map(register).collect();
    let expect = |calls: [u32; 2]| {
        let called = senders
            .each_ref()
            .map(|sender| sender.calls.load(Ordering::Relaxed));
        assert_eq!(called, calls);
    };
    setup.translate_by(1).unwrap();
    expect([1, 1]);
    lease.set_route(message(2)).unwrap();
    expect([1, 1]);
    setup.errno.store(ENOMEM as u32, Ordering::Relaxed);
    setup.translate_by(2).unwrap_err();
    expect([2, 2]);
    senders[0].panics.store(true, Ordering::Relaxed);
    let retranslate = AssertUnwindSafe(|| setup.translate_by(3));
    assert!(catch_unwind(retranslate).is_err());
    expect([3, 3]);
    senders[0].panics.store(false, Ordering::Relaxed);
    let retranslate = AssertUnwindSafe(|| setup.translate_by(BUG - 2));
    assert!(catch_unwind(retranslate).is_err());
    expect([4, 4]);
    drop(registrations.remove(0));
    setup.translate_by(4).unwrap();
    expect([4, 5]);
    drop(registrations);
    setup.translate_by(5).unwrap();
    expect([4, 5]);
    assert_eq!(senders.map(|sender| Arc::weak_count(&sender)), [0, 0]);
}

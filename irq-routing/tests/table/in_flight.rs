// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What others do while a commit is in the kernel.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use irq_routing::{Error, GsiLease, IrqChip, Route, RoutingTable};
use kvm_test::Recorder;
use notify_core::{
    Capability, IoEventFdRequest, IrqFdRequest, LineStatus, MsiOutcome, MsiRequest, RouteBuffer,
    RouteEntry, RouteTarget, Vm,
};

use crate::{message, pin};

/// Nothing here takes so long, unless somebody was never woken.
const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough for another thread to come and wait; if it is not, a test proves nothing, and passes.
const SOON: Duration = Duration::from_millis(50);

/// Data of a message that the machine refuses.
const BAD: u32 = 99;
const ENOMEM: i32 = 12;

/// What becomes of a table.
#[derive(Debug)]
enum Fate {
    /// It is taken, unless there is a bad message in it.
    Taken,
    Panic,
}

fn is_bad(entry: &RouteEntry) -> bool {
    matches!(entry.target, RouteTarget::Msi { data: BAD, .. })
}

/// A machine that says when it is given a table, and does with it what it is told, when it is told.
#[derive(Debug)]
struct Gated {
    recorder: Recorder,
    given: Sender<()>,
    fates: Mutex<Receiver<Fate>>,
}

impl Vm for Gated {
    fn capability(&self, capability: Capability) -> io::Result<u32> {
        self.recorder.capability(capability)
    }
    fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()> {
        self.recorder.irqfd(request)
    }
    fn ioeventfd(&self, request: &IoEventFdRequest<'_>) -> io::Result<()> {
        self.recorder.ioeventfd(request)
    }
    fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()> {
        self.given.send(()).unwrap();
        // Unlocked before the panic.
        let fate = self.fates.lock().unwrap().recv().unwrap();
        match fate {
            Fate::Taken if table.iter().any(|entry| is_bad(&entry)) => {
                Err(io::Error::from_raw_os_error(ENOMEM))
            }
            Fate::Taken => self.recorder.set_gsi_routing(table),
            Fate::Panic => resume_unwind(Box::new("a bug of the machine")),
        }
    }
    fn signal_msi(&self, message: &MsiRequest) -> io::Result<MsiOutcome> {
        self.recorder.signal_msi(message)
    }
    fn set_irq_line(&self, gsi: u32, level: bool) -> io::Result<LineStatus> {
        self.recorder.set_irq_line(gsi, level)
    }
}

struct Bench {
    table: RoutingTable,
    vm: Arc<Gated>,
    given: Receiver<()>,
    fates: Sender<Fate>,
}

impl Bench {
    fn new() -> Self {
        let (given_sender, given) = channel();
        let (fates, fate) = channel();
        let vm = Arc::new(Gated {
            recorder: Recorder::default(),
            given: given_sender,
            fates: Mutex::new(fate),
        });
        let table = RoutingTable::new(vm.clone()).unwrap();
        Self {
            table,
            vm,
            given,
            fates,
        }
    }

    fn lease_msi(&self, data: u32) -> GsiLease {
        self.fates.send(Fate::Taken).unwrap();
        let lease = self.table.lease_msi(message(data)).unwrap();
        self.given.recv().unwrap();
        lease
    }

    /// Lets the kernel finish with the table that it has.
    fn finish(&self, fate: Fate) {
        self.fates.send(fate).unwrap();
    }

    /// Waits until the kernel has a table.
    #[track_caller]
    fn expect_table(&self) {
        self.given.recv_timeout(PATIENCE).unwrap();
    }
}

/// Runs something in a thread of its own; the answer comes when it comes.
fn apart<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (sender, answer) = channel();
    thread::spawn(move || sender.send(run()));
    answer
}

#[track_caller]
fn expect_waiting<T>(answer: &Receiver<T>) {
    assert!(answer.recv_timeout(SOON).is_err(), "it does not wait");
}

#[track_caller]
fn expect<T>(answer: &Receiver<T>) -> T {
    answer.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn a_commit_that_waits_behind_one_that_panics_is_carried_out() {
    let bench = Bench::new();
    let [first, second] = [1, 2].map(|_| bench.table.lease().unwrap());
    let panicking = apart(move || {
        let commit = AssertUnwindSafe(|| first.set_route(message(1)));
        let panicked = catch_unwind(commit).is_err();
        (panicked, first)
    });
    bench.expect_table();
    let waiting = apart(move || (second.set_route(message(2)), second));
    expect_waiting(&waiting);
    bench.finish(Fate::Panic);
    let (panicked, first) = expect(&panicking);
    assert!(panicked);
    bench.expect_table();
    bench.finish(Fate::Taken);
    let (result, second) = expect(&waiting);
    result.unwrap();
    assert_eq!(first.route(), None);
    assert_eq!(second.route(), Some(Route::Msi(message(2))));
    assert_eq!(bench.vm.recorder.take().len(), 1);
}

#[test]
fn a_commit_whose_round_panics_is_carried_out_by_the_next() {
    let bench = Bench::new();
    let [first, second, third] = [1, 2, 3].map(|data| bench.lease_msi(data));
    let first = apart(move || (first.set_route(message(11)), first));
    bench.expect_table();
    let together = [second, third].map(|lease| {
        let commit = apart(move || {
            let commit = AssertUnwindSafe(|| lease.set_route(message(12)));
            (catch_unwind(commit).ok(), lease)
        });
        expect_waiting(&commit);
        commit
    });
    bench.finish(Fate::Taken);
    bench.expect_table();
    expect(&first).0.unwrap();
    // Either of the two leads the other, and alone goes with the panic.
    bench.finish(Fate::Panic);
    bench.expect_table();
    bench.finish(Fate::Taken);
    let routes = together.map(|commit| {
        let (result, lease) = expect(&commit);
        match (result, lease.route()) {
            (Some(Ok(())), Some(Route::Msi(new))) => assert_eq!(new, message(12)),
            (None, Some(Route::Msi(old))) => assert_ne!(old, message(12)),
            other => panic!("{other:?}"),
        }
        lease.route()
    });
    assert_ne!(routes[0], routes[1]);
}

#[test]
fn commits_that_wait_go_together_and_the_guilty_one_alone_fails() {
    let bench = Bench::new();
    let [first, good, bad] = [1, 2, 3].map(|data| bench.lease_msi(data));
    let first = apart(move || (first.set_route(message(11)), first));
    bench.expect_table();
    let good = apart(move || (good.set_route(message(12)), good));
    expect_waiting(&good);
    let bad = apart(move || (bad.set_route(message(BAD)), bad));
    expect_waiting(&bad);
    // The first; the others together, and then each by itself.
    (0..4).for_each(|_| bench.finish(Fate::Taken));
    expect(&first).0.unwrap();
    let (result, good) = expect(&good);
    result.unwrap();
    assert_eq!(good.route(), Some(Route::Msi(message(12))));
    let (result, bad) = expect(&bad);
    let gsi = bad.gsi();
    assert!(
        matches!(result, Err(Error::Refused { edits: 1, first: Some(refused), .. }) if refused == gsi)
    );
    assert_eq!(bad.route(), Some(Route::Msi(message(3))));
}

#[test]
fn a_route_that_is_being_removed_is_not_held() {
    let bench = Bench::new();
    let lease = bench.lease_msi(1);
    let mut transaction = bench.table.transaction();
    transaction.unroute(&lease);
    let commit = apart(move || transaction.commit().map_err(Error::from));
    bench.expect_table();
    let line = apart(move || lease.into_line().map_err(Error::from));
    expect_waiting(&line);
    bench.finish(Fate::Taken);
    expect(&commit).unwrap();
    assert!(matches!(expect(&line), Err(Error::NoRoute { .. })));
}

#[test]
fn a_line_that_is_being_unwired_is_not_shared() {
    let bench = Bench::new();
    let table = bench.table.clone();
    let gsi = table.gsi(4).unwrap();
    bench.finish(Fate::Taken);
    let mut transaction = table.transaction();
    transaction.wire(gsi, pin(IrqChip::IoApic, 4));
    transaction.commit().unwrap();
    bench.expect_table();

    let mut transaction = table.transaction();
    transaction.unwire(gsi);
    let commit = apart(move || transaction.commit().map_err(Error::from));
    bench.expect_table();
    let line = apart(move || table.line(4));
    expect_waiting(&line);
    bench.finish(Fate::Taken);
    expect(&commit).unwrap();
    assert!(matches!(expect(&line), Err(Error::NoRoute { .. })));
}

#[test]
fn a_gsi_that_is_dropped_in_a_commit_is_nobody_elses_until_that_has_ended() {
    let bench = Bench::new();
    let table = bench.table.clone();
    let lease = table.lease().unwrap();
    let gsi = lease.gsi();
    let mut transaction = table.transaction();
    transaction.route(&lease, message(1));
    let commit = apart(move || transaction.commit().map_err(Error::from));
    bench.expect_table();
    drop(lease);
    assert_ne!(table.lease().unwrap().gsi(), gsi);
    let again = apart(move || table.lease_exact(gsi.number()));
    expect_waiting(&again);
    bench.finish(Fate::Taken);
    expect(&commit).unwrap();
    let lease = expect(&again).unwrap();
    assert_eq!(lease.route(), None);
    let change = apart(move || (lease.set_route(message(2)), lease));
    bench.expect_table();
    bench.finish(Fate::Taken);
    let (result, lease) = expect(&change);
    result.unwrap();
    assert_eq!(lease.route(), Some(Route::Msi(message(2))));
}

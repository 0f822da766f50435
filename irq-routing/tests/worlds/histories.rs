// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! All histories of a few steps. After each step the table, the kernel's buffer and the model
//! agree.

use std::sync::{Arc, Mutex};

use irq_routing::{Error, GsiLease, ParkedLease, RoutingTable, Transaction};

use crate::kernel::{Kernel, LIMIT, Routes, entries};
use crate::model::Model;
use crate::step::{Commit, Edit, Outcome, Step, Target};

const EINVAL: i32 = 22;
const ENOMEM: i32 = 12;

enum Handle {
    Lease(GsiLease),
    Parked(ParkedLease),
    Gone,
}

struct Bench {
    kernel: Arc<Mutex<Kernel>>,
    table: RoutingTable,
    handles: Vec<Handle>,
    open: Option<Transaction>,
}

impl Bench {
    fn new() -> Self {
        let (kernel, table) = Kernel::table();
        Self {
            kernel,
            table,
            handles: Vec::new(),
            open: None,
        }
    }

    fn refuse(&self, refused: bool, errno: i32) {
        let mut kernel = self.kernel.lock().unwrap();
        (kernel.refusals, kernel.errno) = (refused.into(), errno);
    }

    fn step(&mut self, step: Step) -> Outcome {
        match step {
            Step::Stage(edit, commit) => {
                self.stage(edit);
                match commit {
                    Commit::Later => Outcome::Done,
                    Commit::Taken => self.commit(false, 0),
                    Commit::RefusedAndKept => self.commit(true, EINVAL),
                    Commit::RefusedAndDropped => {
                        let outcome = self.commit(true, ENOMEM);
                        self.open = None;
                        outcome
                    }
                }
            }
            Step::Lease => self.add(self.table.lease()),
            Step::LeaseExact(gsi) => self.add(self.table.lease_exact(gsi)),
            Step::Release(index) => {
                self.handles[index] = Handle::Gone;
                Outcome::Done
            }
            Step::Park(index) => {
                let handle = std::mem::replace(&mut self.handles[index], Handle::Gone);
                let Handle::Lease(lease) = handle else {
                    panic!("no lease");
                };
                self.handles[index] = Handle::Parked(lease.park());
                Outcome::Done
            }
            Step::Unpark(index) => {
                let handle = std::mem::replace(&mut self.handles[index], Handle::Gone);
                let Handle::Parked(parked) = handle else {
                    panic!("not parked");
                };
                let Some(lease) = parked.unpark() else {
                    return Outcome::TakenBack;
                };
                self.handles[index] = Handle::Lease(lease);
                Outcome::Done
            }
            Step::Flush(refused) => {
                self.refuse(refused, EINVAL);
                outcome(self.table.flush())
            }
            Step::Recommit(refused) => {
                self.refuse(refused, ENOMEM);
                outcome(self.table.recommit())
            }
        }
    }

    fn add(&mut self, leased: Result<GsiLease, Error>) -> Outcome {
        let leased = leased.map(|lease| self.handles.push(Handle::Lease(lease)));
        outcome(leased)
    }

    fn stage(&mut self, edit: Edit) {
        let lease = |index: usize| match &self.handles[index] {
            Handle::Lease(lease) => lease,
            _ => panic!("no lease"),
        };
        let open = self.open.get_or_insert_with(|| self.table.transaction());
        match edit {
            Edit::Route(index, target) => open.route(lease(index), target.route()),
            Edit::Unroute(index) => open.unroute(lease(index)),
            Edit::Wire(gsi) => {
                let irq_routing::Route::Pins(pins) = Target::Pins.route() else {
                    panic!("pins");
                };
                open.wire(self.table.gsi(gsi).unwrap(), pins)
            }
            Edit::Unwire(gsi) => open.unwire(self.table.gsi(gsi).unwrap()),
        };
    }

    fn commit(&mut self, refused: bool, errno: i32) -> Outcome {
        self.refuse(refused, errno);
        match self.open.take().unwrap().commit() {
            Ok(()) => Outcome::Done,
            Err(rejected) => {
                self.open = Some(rejected.value);
                outcome(Err(rejected.error))
            }
        }
    }

    fn check(&self, model: &Model, history: &[Step]) {
        let routes = self.table.routes();
        let routes: Routes = routes
            .iter()
            .map(|(gsi, one)| (gsi.number(), *one))
            .collect();
        assert_eq!(routes, model.routes(), "{history:?}");
        assert_eq!(self.table.leased(), model.leased(), "{history:?}");
        let mut kernel = self.kernel.lock().unwrap();
        let wanted = model.kernel.as_ref().map(entries);
        assert_eq!(kernel.buffer, wanted, "{history:?}");
        let ioctls = std::mem::take(&mut kernel.ioctls);
        assert_eq!(ioctls, model.ioctls, "{history:?}");
        kernel.refusals = 0;
        for gsi in 0..LIMIT {
            let found = self.table.kernel_route(self.table.gsi(gsi).unwrap());
            assert_eq!(found, model.kernel_route(gsi), "{gsi}: {history:?}");
        }
    }
}

fn outcome(result: Result<(), Error>) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        Err(Error::Refused { .. }) => Outcome::Refused,
        Err(Error::NotLeased { .. }) => Outcome::NotLeased,
        Err(Error::GsiInUse { .. }) => Outcome::GsiInUse,
        Err(Error::TableFull { .. }) => Outcome::TableFull,
        Err(Error::Exhausted { .. }) => Outcome::Exhausted,
        Err(other) => panic!("{other}"),
    }
}

/// Runs a history on a table and on the model. What is staged in the end is committed.
fn run(history: &[Step]) {
    let (mut bench, mut model) = (Bench::new(), Model::new());
    for (index, step) in history.iter().enumerate() {
        let (found, expected) = (bench.step(*step), model.step(*step));
        assert_eq!(found, expected, "{:?}", &history[..=index]);
        bench.check(&model, &history[..=index]);
    }
    if bench.open.is_some() {
        let found = bench.commit(false, 0);
        model.ioctls = 0;
        assert_eq!(found, model.commit(false), "{history:?}");
        bench.check(&model, history);
    }
    bench.handles.clear();
    assert_eq!(bench.table.leased(), 0, "{history:?}");
}

/// All histories that go on from here with so many steps. Returns how many there were.
fn all(history: &mut Vec<Step>, model: &Model, steps: usize, commits: &[Commit]) -> u64 {
    if steps == 0 {
        run(history);
        return 1;
    }
    let mut count = 0;
    for step in model.steps(commits) {
        history.push(step);
        let mut model = model.clone();
        model.step(step);
        count += all(history, &model, steps - 1, commits);
        history.pop();
    }
    count
}

fn after(start: &[Step], steps: usize, commits: &[Commit]) -> u64 {
    let mut model = Model::new();
    for step in start {
        assert_eq!(model.step(*step), Outcome::Done);
    }
    all(&mut start.to_vec(), &model, steps, commits)
}

const EACH: [Commit; 4] = [
    Commit::Later,
    Commit::Taken,
    Commit::RefusedAndKept,
    Commit::RefusedAndDropped,
];

/// A lease with a message, one without a route, one that is parked with its message, and wired
/// pins: all GSIs and all entries are in use.
const BUSY: [Step; 7] = [
    Step::Lease,
    Step::Lease,
    Step::Lease,
    Step::Stage(Edit::Wire(3), Commit::Later),
    Step::Stage(Edit::Route(0, Target::Message(1)), Commit::Later),
    Step::Stage(Edit::Route(2, Target::Message(2)), Commit::Taken),
    Step::Park(2),
];

/// Three parked leases with messages, and one that is not parked. The entries are all in use.
const PARKED: [Step; 11] = [
    Step::Lease,
    Step::Lease,
    Step::Lease,
    Step::Lease,
    Step::Stage(Edit::Route(0, Target::Message(1)), Commit::Later),
    Step::Stage(Edit::Route(1, Target::Message(1)), Commit::Later),
    Step::Stage(Edit::Route(2, Target::Message(1)), Commit::Later),
    Step::Stage(Edit::Route(3, Target::Message(1)), Commit::Taken),
    Step::Park(2),
    Step::Park(0),
    Step::Park(3),
];

/// A lease whose GSI has the entry of an earlier one in the kernel.
const LEFT_BEHIND: [Step; 6] = [
    Step::Lease,
    Step::Lease,
    Step::Stage(Edit::Route(0, Target::Message(1)), Commit::Later),
    Step::Stage(Edit::Route(1, Target::Message(2)), Commit::Taken),
    Step::Release(0),
    Step::Lease,
];

#[test]
fn three_steps_of_a_new_table() {
    assert_eq!(after(&[], 3, &EACH), 81_279);
}

#[test]
fn two_steps_of_a_busy_table() {
    assert_eq!(after(&BUSY, 2, &EACH), 6_223);
}

#[test]
fn two_steps_of_a_table_with_parked_leases() {
    assert_eq!(after(&PARKED, 2, &EACH), 4_305);
}

#[test]
fn two_steps_after_a_lease_was_dropped() {
    assert_eq!(after(&LEFT_BEHIND, 2, &EACH), 5_915);
}

#[test]
#[ignore = "takes minutes, in release"]
fn four_steps_of_a_new_table() {
    assert_eq!(after(&[], 4, &EACH), 3_984_565);
}

#[test]
#[ignore = "takes minutes, in release"]
fn three_steps_of_each_other_table() {
    let starts = [&BUSY[..], &PARKED, &LEFT_BEHIND];
    let histories = starts.map(|start| after(start, 3, &EACH));
    assert_eq!(histories, [490_659, 292_425, 455_475]);
}

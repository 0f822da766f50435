// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One run of an operation, with one of its system calls failing.

use std::fmt;
use std::os::unix::process::parent_id;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kvm_test::{Attempt, supervised};
use nix::libc;

use super::errnos::Fault;
use super::ledger::{Change, Ledger, Seen};
use super::names::Names;
use crate::call::{CLOSE, F_DUPFD_CLOEXEC};
use crate::row::{Body, Cell, Step};

/// How often an operation fails before it may succeed, so that what leaks each time is seen.
const FAILURES: usize = 3;

/// A panic, of an operation that fails or of a library.
#[derive(Debug, Clone)]
pub(super) struct Panic {
    pub(super) file: String,
    pub(super) text: String,
}

pub(super) static PANIC: Mutex<Option<Panic>> = Mutex::new(None);

/// A call that fails.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failing {
    /// The step, the call, and how many others of the same kind come before in the step.
    pub(super) place: (usize, Seen, usize),
    pub(super) fault: Fault,
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {:?}", self.place.1, self.fault.errno)
    }
}

/// What the thread of the operation and its supervisor share.
struct Shared {
    names: Names,
    ledger: Ledger,
    /// The calls of the current step; `None` between the steps.
    calls: Option<Vec<Seen>>,
    /// The calls of the current step that have yet to fail.
    failing: Vec<Failing>,
    descriptors: String,
}

/// What is the same of two runs that do the same.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Observation {
    pub(super) text: String,
}

/// What a run has shown.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The calls of each step.
    pub(super) steps: Vec<Vec<Seen>>,
    /// In the end.
    pub(super) last: Observation,
    pub(super) findings: Vec<(What, String)>,
    /// The calls of the step in which one failed.
    pub(super) calls: Vec<Seen>,
    /// Whether the call was made that was to fail. How often a thread looks for events depends on
    /// the time.
    pub(super) is_made: bool,
    /// Whether the operation has returned an error.
    pub(super) failed: bool,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// An operation that failed has changed something.
    Changed,
    /// Each failure keeps memory.
    Leaks,
    /// Once its call works again, the operation still fails.
    Fails,
    /// In the end something is not as if no call had failed.
    Differs,
    /// A library has panicked.
    Panics,
}

/// Runs an operation. One call fails, or also another one after it, of the same step.
pub(super) fn run(cell: &Cell, failing: &[Failing]) -> Report {
    let shared = Mutex::new(Shared {
        names: Names::new().unwrap(),
        ledger: Ledger::default(),
        calls: None,
        failing: Vec::new(),
        descriptors: String::new(),
    });
    let thread = Thread { shared: &shared };
    let act = || thread.run((cell.setup)(), failing);
    supervised(act, |attempt| thread.lock().answer(attempt)).unwrap()
}

impl Shared {
    fn answer(&mut self, attempt: &Attempt<'_>) -> Result<i64, i32> {
        if attempt.number == libc::SYS_getppid {
            self.descriptors = self.names.descriptors().unwrap();
            return Ok(0);
        }
        let seen = Seen::new(attempt);
        let change = Change::read(&seen, attempt, &self.names).unwrap();
        let fault = self.calls.as_mut().and_then(|calls| {
            let is_it = |failing: &Failing| {
                let (_, of, earlier) = failing.place;
                let before = calls.iter().filter(|call| call.is_as(&of)).count();
                seen.is_as(&of) && before == earlier
            };
            let place = self.failing.iter().position(is_it);
            calls.push(seen);
            place.map(|place| self.failing.swap_remove(place).fault)
        });
        if let Some(Fault { errno, done: false }) = fault {
            return Err(errno as i32);
        }
        let result = attempt.carry_out();
        if let Some(change) = change.filter(|_| result.is_ok()) {
            self.ledger.apply(change);
        }
        match (seen.call, result) {
            (Some(F_DUPFD_CLOEXEC), Ok(duplicate)) => {
                let duplicate = u64::try_from(duplicate).unwrap();
                self.names.duplicate(attempt.arguments[0], duplicate);
            }
            (Some(CLOSE), _) => {
                if let Some(file) = self.names.closed(attempt.arguments[0]) {
                    self.ledger.closed(&file);
                }
            }
            _ => {}
        }
        match fault {
            Some(fault) => Err(fault.errno as i32),
            None => result,
        }
    }
}

/// The thread of the operation.
#[derive(Clone, Copy)]
struct Thread<'a> {
    shared: &'a Mutex<Shared>,
}

impl Thread<'_> {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(self, mut body: Body, failing: &[Failing]) -> Report {
        let mut report = Report::default();
        let Body {
            steps,
            repair,
            state,
        } = &mut body;
        for (number, step) in steps.iter_mut().enumerate() {
            match failing.first() {
                Some(first) if first.place.0 == number => {
                    self.fail(step, repair, state, failing, &mut report);
                }
                _ => {
                    let (calls, panic) = self.step(step, &[]);
                    report.steps.push(calls);
                    report.unexpected(panic);
                }
            }
        }
        report.last = self.observe(state);
        // Dropping them is no part of the operation.
        std::mem::forget(body);
        report
    }

    /// Makes a step fail, and then lets it work.
    fn fail(
        self,
        step: &mut Step,
        repair: &mut Step,
        state: &dyn Fn() -> String,
        failing: &[Failing],
        report: &mut Report,
    ) {
        let before = self.observe(state);
        let (calls, panic) = self.step(step, failing);
        report.calls = calls;
        report.is_made = self.lock().failing.is_empty();
        let Some(panic) = panic else { return };
        report.failed = true;
        if report.is_of_library(&panic) {
            return;
        }
        repair();
        if failing.len() > 1 {
            // The undo has failed.
            let (_, panic) = self.step(step, &[]);
            return report.unexpected(panic);
        }
        report.compare(What::Changed, &before, &self.observe(state));
        let mut grown = Vec::new();
        for _ in 0..FAILURES {
            let mut failed = false;
            let memory = allocation_counter::measure(|| {
                failed = self.step(step, failing).1.is_some();
                if failed {
                    repair();
                }
            });
            if !failed {
                // It did not make the call again.
                return;
            }
            grown.push(memory.count_current);
        }
        report.compare(What::Changed, &before, &self.observe(state));
        if grown.iter().all(|count| *count > 0) {
            report
                .findings
                .push((What::Leaks, format!("allocations: {grown:?}")));
        }
        let (_, panic) = self.step(step, &[]);
        report.unexpected(panic);
    }

    /// Runs a step. Returns its calls, and how it has failed.
    fn step(self, step: &mut Step, failing: &[Failing]) -> (Vec<Seen>, Option<Panic>) {
        {
            let mut shared = self.lock();
            shared.calls = Some(Vec::with_capacity(64));
            shared.failing = failing.to_vec();
        }
        let result = catch_unwind(AssertUnwindSafe(&mut *step));
        let mut shared = self.lock();
        let calls = shared.calls.take().unwrap_or_default();
        let panic = PANIC.lock().unwrap_or_else(PoisonError::into_inner).take();
        (calls, result.err().and(panic))
    }

    fn observe(self, state: &dyn Fn() -> String) -> Observation {
        let state = state();
        // The supervisor looks at the descriptors.
        let _ = parent_id();
        let shared = self.lock();
        let state = shared.names.renamed(&state);
        let mut text = state + "\n";
        shared.ledger.write(&mut text);
        text += &shared.descriptors;
        Observation { text }
    }
}

impl Report {
    /// Compares the end with that of a run in which no call failed.
    pub(super) fn compared(mut self, once: &Self) -> Self {
        let last = self.last.clone();
        self.compare(What::Differs, &once.last, &last);
        self
    }

    fn is_of_library(&mut self, panic: &Panic) -> bool {
        let is_it = !panic.file.contains("tests/system_calls");
        if is_it {
            let text = format!("{}: {}", panic.file, panic.text);
            self.findings.push((What::Panics, text));
        }
        is_it
    }

    /// No call fails, so neither should the operation.
    fn unexpected(&mut self, panic: Option<Panic>) {
        if let Some(panic) = panic
            && !self.is_of_library(&panic)
        {
            self.findings.push((What::Fails, panic.text));
        }
    }

    fn compare(&mut self, what: What, before: &Observation, after: &Observation) {
        let is_known = self.findings.iter().any(|(other, _)| *other == what);
        if before != after && !is_known {
            self.findings
                .push((what, difference(&before.text, &after.text)));
        }
    }
}

/// The lines that only one text has.
fn difference(before: &str, after: &str) -> String {
    let missing = |of: &[&str], other: &[&str], sign| {
        let lines = of.iter().filter(|line| !other.contains(line));
        lines
            .map(|line| format!("        {sign} {line}\n"))
            .collect::<String>()
    };
    let lines = |text| {
        str::lines(text)
            .flat_map(|line| line.split(", "))
            .collect::<Vec<_>>()
    };
    let (before, after) = (lines(before), lines(after));
    let difference = missing(&before, &after, '-') + &missing(&after, &before, '+');
    match difference.is_empty() {
        true => format!("        {before:?}\n        {after:?}\n"),
        false => difference,
    }
}

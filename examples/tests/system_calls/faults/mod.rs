// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Each operation of the tables, once for each of its system calls, with that one failing.
//!
//! The operation runs on a thread whose calls a supervisor carries out, and counts. Then, in a new
//! VM, one call returns an errno. If the operation fails, everything must be as before: our
//! objects, what KVM has accepted, the descriptors, and memory; and the operation must then work.
//! If it does not fail, everything must be in the end as if no call had failed.
//!
//! Then the undo of an operation that fails is made to fail too: nothing may panic, and once no
//! call fails, the operation must work and end as if none had failed.
//!
//! Exceptions stand in `exceptions`, with the reason; functions that no row has in `unmet.rs`.

mod errnos;
mod exceptions;
mod ledger;
mod names;
mod run;
mod unmet;

use std::fmt::Write;
use std::process::{Command, ExitCode};
use std::sync::PoisonError;

use kvm_test::Trial;

use crate::row::{Cell, Row, Section};
use errnos::faults;
use exceptions::Exception;
use ledger::Seen;
use run::{Failing, PANIC, Panic, Report, run};

/// If the environment has this as "short": one errno for each call, and no failing undo. For
/// hosts that are emulated.
const FORM: &str = "FAULTS";

fn is_short() -> bool {
    std::env::var(FORM).is_ok_and(|form| form == "short")
}

/// The environment variable of the second process: the name of a trial.
const FAULTS: &str = "FAULTS_OF";

fn name(section: &Section, row: &Row) -> String {
    let thread = section.thread.title();
    format!("faults in {}: {}, {thread}", section.subject, row.operation)
}

/// A trial for each row of the tables.
pub(crate) fn trials(sections: &[Section]) -> Vec<Trial> {
    let mut trials = Vec::new();
    for section in sections {
        for row in &section.rows {
            let name = name(section, row);
            let of = name.clone();
            let check = move || check(&of);
            trials.push(match section.kvm {
                true => kvm_test::kvm(&name, check),
                false => kvm_test::anywhere(&name, check),
            });
        }
    }
    let names: Vec<_> = trials.iter().map(|trial| trial.name().to_owned()).collect();
    let check = move || exceptions::all().for_each(|it| it.check(&names));
    trials.push(kvm_test::anywhere("each_exception_is_of_a_trial", check));
    let rows = unmet::names(sections);
    let check = move || unmet::check(&rows);
    let name = "each_function_that_can_fail_is_met_or_listed";
    trials.push(kvm_test::anywhere(name, check));
    trials
}

/// Runs a trial in a process of its own, as operations leave VMs and descriptors behind.
fn check(name: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.env(FAULTS, name).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{name}: {}\n{errors}",
        output.status
    );
}

/// The second process.
pub(crate) fn child(sections: &[Section]) -> Option<ExitCode> {
    let wanted = std::env::var(FAULTS).ok()?;
    std::panic::set_hook(Box::new(|info| {
        let file = info.location().map(|at| at.file().to_owned());
        let (file, text) = (file.unwrap_or_default(), info.to_string());
        if std::thread::current().name() == Some("main") {
            eprintln!("{text}");
        }
        *PANIC.lock().unwrap_or_else(PoisonError::into_inner) = Some(Panic { file, text });
    }));
    let rows = sections
        .iter()
        .flat_map(|section| section.rows.iter().map(move |row| (section, row)));
    let mut rows = rows.into_iter();
    let (section, row) = rows
        .find(|(section, row)| name(section, row) == wanted)
        .unwrap();
    let text = findings(section, row, &wanted);
    eprint!("{text}");
    Some(ExitCode::from(u8::from(!text.is_empty())))
}

/// What is wrong with a row, as text.
fn findings(section: &Section, row: &Row, trial: &str) -> String {
    let mut findings = Findings::new(trial);
    for (column, cell) in row.cells.iter().enumerate() {
        if cell.calls.is_some() {
            let column = section.columns.get(column).copied().unwrap_or_default();
            findings.look(column, cell);
        }
    }
    findings.end()
}

/// The findings of a trial.
struct Findings {
    text: String,
    /// The exceptions that the trial may need, each with one of its calls, and whether it was
    /// needed.
    exceptions: Vec<(&'static Exception, &'static str, bool)>,
}

impl Findings {
    fn new(trial: &str) -> Self {
        let calls = |it: &'static Exception| {
            it.calls_of(trial)
                .iter()
                .map(move |call| (it, *call, false))
        };
        Self {
            text: String::new(),
            exceptions: exceptions::all().flat_map(calls).collect(),
        }
    }

    fn look(&mut self, column: &str, cell: &Cell) {
        let once = run(cell, &[]);
        let again = run(cell, &[]).compared(&once);
        for (what, finding) in &again.findings {
            let _ = writeln!(self.text, "  {column}, no call fails: {what:?}\n{finding}");
        }
        let mut made = Vec::new();
        for (step, calls) in once.steps.iter().enumerate() {
            for number in 0..calls.len() {
                for failing in self.failing(step, calls, number) {
                    let report = run(cell, &[failing]).compared(&once);
                    if report.is_made {
                        made.push(failing.place.1);
                    }
                    self.note(column, &[failing], &report);
                    // What comes after the call of an operation that fails is its undo.
                    let undo = if report.failed && !is_short() {
                        number + 1..report.calls.len()
                    } else {
                        0..0
                    };
                    for number in undo {
                        let second = self.failing(step, &report.calls, number);
                        if let Some(second) = second.into_iter().next() {
                            let both = [failing, second];
                            self.note(column, &both, &run(cell, &both).compared(&once));
                        }
                    }
                }
            }
        }
        let mut calls = once.steps.iter().flatten();
        let missed = calls.find(|seen| {
            faults(seen).is_some_and(|it| !it.is_empty()) && !made.iter().any(|it| seen.is_as(it))
        });
        if let Some(missed) = missed {
            let _ = writeln!(self.text, "  {column}: {missed} was not made again");
        }
    }

    /// How a call of a step can fail.
    fn failing(&mut self, step: usize, calls: &[Seen], number: usize) -> Vec<Failing> {
        let (before, rest) = calls.split_at(number);
        let Some(seen) = rest.first() else {
            return Vec::new();
        };
        let Some(faults) = faults(seen) else {
            let _ = writeln!(self.text, "  errnos.rs does not know {seen}");
            return Vec::new();
        };
        let count = if is_short() { 1 } else { faults.len() };
        let earlier = before.iter().filter(|it| it.is_as(seen)).count();
        let place = (step, *seen, earlier);
        faults
            .into_iter()
            .take(count)
            .map(|fault| Failing { place, fault })
            .collect()
    }

    fn note(&mut self, column: &str, failing: &[Failing], report: &Report) {
        for (what, finding) in &report.findings {
            let mut known = self.exceptions.iter_mut();
            let is_it = |(it, call, _): &&mut (&Exception, &str, bool)| {
                failing
                    .iter()
                    .any(|failing| it.is_of(call, failing, *what, finding))
            };
            if let Some((.., needed)) = known.find(is_it) {
                *needed = true;
                continue;
            }
            let returned = if report.failed { "fails" } else { "succeeds" };
            let failing: Vec<_> = failing.iter().map(Failing::to_string).collect();
            let calls: Vec<_> = report.calls.iter().map(Seen::to_string).collect();
            let (failing, calls) = (failing.join(", then "), calls.join(", "));
            let _ = writeln!(
                self.text,
                "  {column}: {failing}, it {returned}: {what:?}\n    calls: {calls}\n{finding}"
            );
        }
    }

    /// Which exceptions are needed is known for the whole form, and where the kernel shows the mode
    /// of an eventfd.
    fn end(mut self) -> String {
        if is_short() || kvm_test::kernel() < (6, 5, 0) {
            return self.text;
        }
        for (exception, call, _) in self.exceptions.iter().filter(|(.., needed)| !needed) {
            let reason = exception.reason();
            let _ = writeln!(
                self.text,
                "  not needed any more: {call}, which has the reason: {reason}"
            );
        }
        self.text
    }
}

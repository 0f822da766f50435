// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Each operation of the tables, once for each of its system calls, with that one failing.
//!
//! The operation runs on a thread whose calls a supervisor carries out, and counts. Then, in a new
//! VM, one call returns an errno. If the operation fails, everything must be as before: our
//! objects, what KVM has accepted, the descriptors, and memory; and the operation must then work.
//! If it does not fail, everything must be in the end as if no call had failed.
//!
//! Exceptions stand in `exceptions.rs`, with the reason.

mod errnos;
mod exceptions;
mod ledger;
mod names;
mod run;

use std::fmt::Write;
use std::process::{Command, ExitCode};
use std::sync::PoisonError;

use kvm_test::Trial;

use crate::row::{Cell, Row, Section};
use errnos::{Fault, faults};
use exceptions::{EXCEPTIONS, Exception};
use ledger::Seen;
use run::{Failing, PANIC, Panic, Report, run};

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
    trials.push(kvm_test::anywhere("exceptions_name_operations", || {}));
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
    let (section, row) = rows
        .into_iter()
        .find(|(section, row)| name(section, row) == wanted)?;
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
            exceptions: EXCEPTIONS.iter().flat_map(calls).collect(),
        }
    }

    fn look(&mut self, column: &str, cell: &Cell) {
        let once = run(cell, None);
        let again = run(cell, None).compared(&once);
        for (what, finding) in &again.findings {
            let _ = writeln!(self.text, "  {column}, no call fails: {what:?}\n{finding}");
        }
        for (step, calls) in once.steps.iter().enumerate() {
            for (number, seen) in calls.iter().enumerate() {
                let Some(faults) = faults(seen) else {
                    let _ = writeln!(self.text, "  {column}: errnos.rs does not know {seen}");
                    continue;
                };
                for fault in faults {
                    let earlier = calls
                        .iter()
                        .take(number)
                        .filter(|it| it.is_as(seen))
                        .count();
                    let place = (step, *seen, earlier);
                    let report = run(cell, Some(Failing { place, fault })).compared(&once);
                    self.note(column, seen, fault, &report);
                }
            }
        }
    }

    fn note(&mut self, column: &str, seen: &Seen, fault: Fault, report: &Report) {
        let (errno, calls) = (fault.errno, &report.calls);
        for (what, finding) in &report.findings {
            let mut known = self.exceptions.iter_mut();
            let is_it =
                |(it, call, _): &&mut (&Exception, &str, bool)| it.is_of(call, seen, errno, *what);
            if let Some((.., needed)) = known.find(is_it) {
                *needed = true;
                continue;
            }
            let returned = if report.failed { "fails" } else { "succeeds" };
            let calls: Vec<_> = calls.iter().map(Seen::to_string).collect();
            let calls = calls.join(", ");
            let _ = writeln!(
                self.text,
                "  {column}: {seen} is {errno:?}, it {returned}: {what:?}\n    calls: {calls}\n{finding}"
            );
        }
    }

    fn end(mut self) -> String {
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

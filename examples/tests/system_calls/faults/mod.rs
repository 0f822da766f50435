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
mod observe;
mod run;

use std::fmt::Write;
use std::process::{Command, ExitCode};
use std::sync::PoisonError;

use kvm_test::Trial;

use crate::row::{Row, Section};
use errnos::faults;
use exceptions::EXCEPTIONS;
use run::{PANIC, Panic, What, run};

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
fn findings(section: &Section, row: &Row, name: &str) -> String {
    let mut needed = [false; EXCEPTIONS.len()];
    let mut text = String::new();
    for (column, cell) in row.cells.iter().enumerate() {
        if cell.calls.is_none() {
            continue;
        }
        let column = section.columns.get(column).copied().unwrap_or_default();
        let once = run(cell, None);
        let mut again = run(cell, None);
        again.compare(What::Differs, &once.last, &again.last.clone());
        for (what, finding) in &again.findings {
            let _ = writeln!(text, "  {column}, no call fails: {what:?}\n{finding}");
        }
        for (step, calls) in once.steps.iter().enumerate() {
            for (call, seen) in calls.iter().enumerate() {
                let Some(faults) = faults(seen) else {
                    let _ = writeln!(text, "  {column}: errnos.rs does not know {seen}");
                    continue;
                };
                for fault in faults {
                    let mut report = run(cell, Some((step, call, fault)));
                    report.compare(What::Differs, &once.last, &report.last.clone());
                    let seen = seen.to_string();
                    for (what, finding) in &report.findings {
                        let is_it = |it: &&exceptions::Exception| it.is_of(name, &seen, *what);
                        if let Some(known) = EXCEPTIONS.iter().position(|it| is_it(&it)) {
                            needed[known] = true;
                            continue;
                        }
                        let returned = if report.failed { "fails" } else { "succeeds" };
                        let errno = fault.errno;
                        let _ = writeln!(
                            text,
                            "  {column}: {seen} (call {call}) is {errno:?}, it {returned}: {what:?}\n{finding}"
                        );
                    }
                }
            }
        }
    }
    let known = EXCEPTIONS.iter().zip(needed);
    for (exception, _) in known.filter(|(it, needed)| !needed && name.contains(it.operation)) {
        let _ = writeln!(text, "  an exception is not needed any more: {exception:?}");
    }
    text
}

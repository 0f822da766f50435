// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Runs an operation in a process of its own, on a thread whose filter kills.
//!
//! The test program starts itself once more for that. So a killed process is a result like any
//! other, and no operation disturbs another one.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};
use std::sync::mpsc;
use std::thread;

use kvm_test::allow_only;
use nix::libc;
use nix::sys::resource::{Resource, setrlimit};

use crate::call::{ALL, Call, RUNTIME};
use crate::row::{Body, Calls, Section};

/// Environment variables of the second process: its operation, and the names of the allowed calls.
const OPERATION: &str = "SYSTEM_CALLS_OF";
const ALLOWED: &str = "SYSTEM_CALLS_ALLOWED";

/// How an operation ended under a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Returned,
    Killed,
    /// It panicked, with this output.
    Failed(String),
}

/// Runs an operation with only these calls allowed, or without a filter.
fn run(operation: &str, allowed: Option<&[Call]>) -> End {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(OPERATION, operation).env_remove(ALLOWED);
    if let Some(allowed) = allowed {
        let names: Vec<_> = allowed.iter().map(|call| call.name).collect();
        command.env(ALLOWED, names.join(","));
    }
    let output = command.output().unwrap();
    match (output.status.success(), output.status.signal()) {
        (true, _) => End::Returned,
        (_, Some(libc::SIGSYS)) => End::Killed,
        _ => End::Failed(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// The second process: sets up and runs the operation that the environment names.
pub(crate) fn child(sections: &[Section]) -> Option<ExitCode> {
    let operation = std::env::var(OPERATION).ok()?;
    let allowed = std::env::var(ALLOWED).ok().map(|names| {
        let allowed = |call: &&Call| names.split(',').any(|name| name == call.name);
        let calls = ALL.iter().filter(allowed).map(|call| call.filter());
        calls.chain(RUNTIME).collect::<Vec<_>>()
    });
    // A process that is killed on purpose must leave no core file.
    setrlimit(Resource::RLIMIT_CORE, 1, 1).unwrap();
    let mut cells = sections.iter().flat_map(Section::cells);
    let (_, cell) = cells.find(|(name, _)| *name == operation).unwrap();
    let mut body: Body = (cell.setup)();
    let (done, returned) = mpsc::channel();
    // A thread of its own, like those of a vCPU and a device: this shows what the runtime does once
    // for each thread.
    thread::spawn(move || {
        if let Some(allowed) = allowed {
            allow_only(&allowed).unwrap();
        }
        for step in &mut body.steps {
            step();
        }
        done.send(()).unwrap();
        // The thread's end is no part of the operation, and neither are the drops.
        loop {
            thread::park();
        }
    });
    let code = u8::from(returned.recv().is_err());
    Some(ExitCode::from(code))
}

/// The calls that an operation makes, independent of its list: all names of each.
pub(crate) fn measure(operation: &str) -> Vec<Call> {
    if let End::Failed(output) = run(operation, None) {
        panic!("{operation} fails without a filter: {output}");
    }
    assert_eq!(
        run(operation, Some(&ALL)),
        End::Returned,
        "{operation} makes a call that call.rs does not know"
    );
    let needed = |call: &Call| run(operation, Some(&without(&ALL, *call))) != End::Returned;
    ALL.into_iter().filter(needed).collect()
}

fn without(calls: &[Call], left_out: Call) -> Vec<Call> {
    // With musl two names may be one call.
    let calls = calls
        .iter()
        .filter(|call| call.filter() != left_out.filter());
    calls.copied().collect()
}

/// Checks that an operation needs all calls of its list, and no other.
pub(crate) fn check(operation: &str, calls: Calls) {
    let Some(calls) = calls else { return };
    let calls: Vec<_> = calls
        .iter()
        .copied()
        .filter(|call| call.is_of_this_libc())
        .collect();
    let names = |calls: &[Call]| calls.iter().map(|call| call.name).collect::<Vec<_>>();
    match run(operation, Some(&calls)) {
        End::Returned => {}
        End::Failed(output) => panic!("{operation} fails: {output}"),
        End::Killed => panic!(
            "{operation} makes other calls than its list says: {:?}",
            names(&measure(operation))
        ),
    }
    for call in &calls {
        assert_eq!(
            run(operation, Some(&without(&calls, *call))),
            End::Killed,
            "{operation} does not need {call}, which its list has"
        );
    }
}

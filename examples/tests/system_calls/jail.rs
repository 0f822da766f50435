// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Makes an operation in a process of its own, on a thread whose filter kills.
//!
//! The test program starts itself once more for that, so that a killed process is a result like any
//! other, and what an operation leaves behind disturbs no other operation.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};
use std::sync::mpsc;
use std::thread;

use kvm_test::allow_only;
use nix::libc;
use nix::sys::resource::{Resource, setrlimit};

use crate::call::{ALL, Call, RUNTIME};
use crate::row::{Body, Calls, Section};

/// By what the second process knows its operation, and the names of the calls that are allowed.
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

/// Makes an operation where only these calls are allowed, or without a filter.
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

/// The second process: gets ready, and makes the operation that the environment names.
pub(crate) fn child(sections: &[Section]) -> Option<ExitCode> {
    let operation = std::env::var(OPERATION).ok()?;
    let allowed = std::env::var(ALLOWED).ok().map(|names| {
        let allowed = |call: &&Call| names.split(',').any(|name| name == call.name);
        let calls = ALL.iter().filter(allowed).map(|call| call.filter());
        calls.chain(RUNTIME).collect::<Vec<_>>()
    });
    // Neither a file nor a program gets a core of a process that is killed on purpose.
    setrlimit(Resource::RLIMIT_CORE, 1, 1).unwrap();
    let mut cells = sections.iter().flat_map(Section::cells);
    let (_, cell) = cells.find(|(name, _)| *name == operation).unwrap();
    let mut body: Body = (cell.setup)();
    let (done, returned) = mpsc::channel();
    // A thread of its own, as a vCPU and a device have: what the runtime does once for each thread
    // shows.
    thread::spawn(move || {
        if let Some(allowed) = allowed {
            allow_only(&allowed).unwrap();
        }
        body();
        done.send(()).unwrap();
        // Its end is no part of the operation, and neither are the drops.
        loop {
            thread::park();
        }
    });
    let code = u8::from(returned.recv().is_err());
    Some(ExitCode::from(code))
}

/// The calls that an operation makes, whatever its list says: all names of each.
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

/// An operation needs the calls of its list, each of them, and no other.
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

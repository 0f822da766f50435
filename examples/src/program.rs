// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the programs have in common.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::iter::successors;
use std::process::{ExitCode, exit};

use bpaf::{Args, OptionParser};
use serde_json::Value;

use crate::interrupt;
use crate::width::{fold, of_stdout};

/// What runs the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// A real guest on `/dev/kvm`.
    Kvm,
    /// A simulated guest.
    Sim,
}

impl Backend {
    /// Returns `Kvm` if KVM works here. Otherwise prints why not, in the name of `program`.
    #[must_use]
    pub fn choose(program: &str) -> Self {
        if cfg!(not(target_arch = "x86_64")) {
            eprintln!("{program}: the real guest is x86-64 code; simulating one");
            return Self::Sim;
        }
        match kvm_probe::probe() {
            Ok(()) => Self::Kvm,
            Err(why) => {
                eprintln!("{program}: {why}; simulating a guest");
                Self::Sim
            }
        }
    }
}

/// The counts of a run.
pub trait Report: Display {
    /// The same for a script: an object.
    fn to_json(&self) -> Value;

    /// Whether the counts are as they must be, as far as the run went.
    fn is_exact(&self) -> bool;
}

/// Parses the command line of a program. For `--help`, `--version` and wrong arguments it prints
/// the text and ends the program.
pub fn parse<T>(options: OptionParser<T>) -> T {
    let options = options.version(env!("CARGO_PKG_VERSION"));
    options
        .run_inner(Args::current_args())
        .unwrap_or_else(|end| {
            end.print_message(of_stdout());
            exit(end.exit_code())
        })
}

/// Prints a report, or for a script one JSON object in one line, with `interrupted`. Returns the
/// exit code.
///
/// # Errors
///
/// As for [`show`].
pub fn print(report: &impl Report, json: bool) -> io::Result<ExitCode> {
    let interrupted = interrupt::is_pending();
    if json {
        let mut object = report.to_json();
        if let Value::Object(object) = &mut object {
            object.insert("interrupted".to_owned(), interrupted.into());
        }
        show(format_args!("{object}\n"))?;
    } else {
        if interrupted {
            show("interrupted; until then:\n\n")?;
        }
        show(fold(&report.to_string(), of_stdout()))?;
    }
    Ok(match interrupted {
        true => interrupt::code(),
        false => verdict(report.is_exact()),
    })
}

/// Writes to standard output.
///
/// # Errors
///
/// Those of the write (`print!` would panic). [`end`] handles a closed pipe.
pub fn show(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    write!(out, "{text}")?;
    out.flush()
}

/// Ends a program, in its name. A reader that closed the pipe is not a failure.
#[must_use]
pub fn end(program: &str, result: Result<ExitCode, Box<dyn Error>>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Success if everything was as it must be.
#[must_use]
pub fn verdict(is_exact: bool) -> ExitCode {
    if is_exact {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// An error and its causes, in one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let causes = successors(error.source(), |cause| (**cause).source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

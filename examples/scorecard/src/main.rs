// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Measures the crates against the alternative, each pair in turn in one run.
//!
//! A benchmark, not a test: it asserts nothing. The row `a_a` measures one thing against itself,
//! and so shows the noise of the host. Ctrl-C ends the run with the rows that are measured.

mod card;
#[cfg(target_arch = "x86_64")]
mod counting;
#[cfg(target_arch = "x86_64")]
mod dispatch;
#[cfg(target_arch = "x86_64")]
mod dispatch_neighbour;
#[cfg(target_arch = "x86_64")]
mod dispatch_polling;
#[cfg(target_arch = "x86_64")]
mod doorbells;
#[cfg(target_arch = "x86_64")]
mod doorbells_then_slots;
#[cfg(target_arch = "x86_64")]
mod inject;
#[cfg(target_arch = "x86_64")]
mod kick;
#[cfg(target_arch = "x86_64")]
mod level;
#[cfg(target_arch = "x86_64")]
mod measure;
#[cfg(target_arch = "x86_64")]
mod msix;
#[cfg(target_arch = "x86_64")]
mod notify;
#[cfg(target_arch = "x86_64")]
mod open_loop;
mod plot;
#[cfg(target_arch = "x86_64")]
mod polling_plot;
#[cfg(target_arch = "x86_64")]
mod processor;
#[cfg(target_arch = "x86_64")]
mod retire;
#[cfg(target_arch = "x86_64")]
mod routing;
#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(dead_code, reason = "elsewhere there are no rows")
)]
mod row;
mod rows;
#[cfg(target_arch = "x86_64")]
mod sim;
mod unit;
#[cfg(target_arch = "x86_64")]
mod vhost;

use std::path::PathBuf;
use std::process::ExitCode;

use bpaf::{OptionParser, Parser, construct, long};
use examples::program::{end, parse};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

#[derive(Debug, Clone)]
struct Arguments {
    json: bool,
    notes: bool,
    only: Option<String>,
    out: Option<PathBuf>,
}

fn arguments() -> OptionParser<Arguments> {
    let json = long("json")
        .help("Print one JSON object for each row instead of the table")
        .switch();
    let notes = long("notes")
        .help("Print with each row how it is measured, and what it counts besides")
        .switch();
    let only = long("only")
        .help("Run this row alone")
        .argument::<String>("ROW");
    let only = only.guard(
        |only| rows::names().any(|name| name == only),
        "is not a row; without --only the table shows all",
    );
    let only = only.optional();
    let out = long("out").help(
        "Write plots into this folder: one for each group of rows, or with --only one for the row \
         [default: no plots]",
    );
    let out = out.argument::<PathBuf>("FOLDER").optional();
    construct!(Arguments {
        json,
        notes,
        only,
        out
    })
    .to_options()
    .descr("How fast the crates are, against the alternative.")
}

fn main() -> ExitCode {
    if let Some(code) = vhost_examples::child::serve("scorecard") {
        return code;
    }
    let arguments = parse(arguments());
    if let Err(error) = raise_file_limit() {
        eprintln!("scorecard: cannot raise the limit of open files: {error}");
    }
    end("scorecard", card::run(&arguments))
}

/// Two thousand guards need more files than a shell usually allows.
fn raise_file_limit() -> nix::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
}

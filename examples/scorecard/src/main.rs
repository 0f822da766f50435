// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Measures the crates against the alternative, each pair in turn in one run.
//!
//! A benchmark, not a test: it asserts nothing. The row `a_a` measures one thing against itself, so
//! that a reader sees the noise of the machine.

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
#[cfg(target_arch = "x86_64")]
mod vhost;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use bpaf::{OptionParser, Parser, construct, long};
use examples::program::{end, show};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use row::{Missing, Row};

#[derive(Debug, Clone)]
struct Arguments {
    json: bool,
    only: Option<String>,
}

fn arguments() -> OptionParser<Arguments> {
    let json = long("json")
        .help("Print one JSON object for each row instead of the table")
        .switch();
    let only = long("only")
        .help("Run this row alone")
        .argument::<String>("ROW");
    let only = only.guard(
        |only| rows::names().any(|name| name == only),
        "is no row; without --only the table shows all",
    );
    let only = only.optional();
    construct!(Arguments { json, only })
        .to_options()
        .descr("How fast the crates are, against the alternative.")
}

fn main() -> ExitCode {
    if let Some(code) = vhost_examples::child::serve("scorecard") {
        return code;
    }
    let arguments = arguments().run();
    if let Err(error) = raise_file_limit() {
        eprintln!("scorecard: cannot raise the limit of open files: {error}");
    }
    end("scorecard", measure(&arguments))
}

fn measure(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let mut measured = Vec::new();
    if !arguments.json {
        show(format_args!("{}\n", Row::headings()))?;
    }
    for &(name, measure) in rows::ROWS {
        if arguments.only.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        let row = match measure() {
            Ok(row) => row,
            Err(error) if error.is::<Missing>() && arguments.only.is_none() => {
                eprintln!("scorecard: no row {name}: {error}");
                continue;
            }
            Err(error) => return Err(format!("{name}: {error}").into()),
        };
        if arguments.json {
            show(format_args!("{}\n", row.to_json(name)))?;
        } else {
            show(format_args!("{}\n", row.to_line(name)))?;
        }
        measured.push((name, row));
    }
    let path = Path::new("target/scorecard/scorecard.svg");
    match plot::bars(path, &measured) {
        Ok(()) => eprintln!("plotted in {}", path.display()),
        Err(error) => eprintln!("scorecard: no plot in {}: {error}", path.display()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Two thousand guards want more files than a shell usually allows.
fn raise_file_limit() -> nix::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
}

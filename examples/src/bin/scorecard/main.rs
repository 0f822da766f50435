// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Measures the crates against the alternative, each pair in turn in one run.
//!
//! A benchmark, not a test: it asserts nothing. The row `a_a` measures one thing against itself, so
//! that a reader sees the noise of the machine.

mod commit;
mod kick;
mod measure;
mod notify;
mod plot;
mod retire;
mod row;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use row::Row;

/// How fast the crates are, against the alternative.
#[derive(Debug, Parser)]
struct Arguments {
    /// Print one JSON object for each row instead of the table
    #[arg(long)]
    json: bool,

    /// Run this row alone
    #[arg(long, value_name = "NAME", value_parser = names())]
    only: Option<String>,
}

/// What measures a row.
type Measure = fn() -> Result<Row, Box<dyn Error>>;

const ROWS: [(&str, Measure); 5] = [
    ("a_a", notify::against_itself),
    ("notify", notify::against_write),
    ("kick", kick::against_exit),
    ("commit_one_of_4096", commit::one_of_4096),
    ("retire", retire::against_one_by_one),
];

fn names() -> [&'static str; ROWS.len()] {
    ROWS.map(|(name, _)| name)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = raise_file_limit() {
        eprintln!("scorecard: cannot raise the limit of open files: {error}");
    }
    let mut measured = Vec::new();
    if !arguments.json {
        println!("{}", Row::headings());
    }
    for (name, measure) in ROWS {
        if arguments.only.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        match measure() {
            Ok(row) if arguments.json => {
                println!("{}", row.to_json(name));
                measured.push((name, row));
            }
            Ok(row) => {
                println!("{}", row.to_line(name));
                measured.push((name, row));
            }
            Err(error) => {
                eprintln!("scorecard: {name}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    let path = Path::new("target/scorecard/scorecard.svg");
    match plot::bars(path, &measured) {
        Ok(()) => eprintln!("plotted in {}", path.display()),
        Err(error) => eprintln!("scorecard: no plot in {}: {error}", path.display()),
    }
    ExitCode::SUCCESS
}

/// Two thousand guards want more files than a shell usually allows.
fn raise_file_limit() -> nix::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Explains a GSI routing table: of a fresh PC on this host, or from a bug report.
//!
//! First it prints which signals would be lost and what is unusual, then a picture of GSIs and
//! chips, then how a signal of each GSI reaches the guest. Ctrl-C ends the program.

mod drawing;
mod fresh_pc;
mod json;
mod known;
mod line;
mod ranges;
mod report;
mod text;

use std::error::Error;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bpaf::{OptionParser, Parser, construct, long, positional};
use examples::program::{end, parse, show, verdict};
use examples::width;
use irq_routing::Dump;
use report::Report;

#[derive(Debug, Clone)]
struct Arguments {
    dump: Option<PathBuf>,
    gsi: Option<u32>,
    json: bool,
}

fn arguments() -> OptionParser<Arguments> {
    let dump = positional("DUMP").help(
        "A table as text, one entry a line such as \"gsi=4 type=1 2 4\"; \"-\" reads standard \
         input [default: the table of a fresh PC]",
    );
    let dump = dump.optional();
    let gsi = long("gsi")
        .help("Explain only this GSI")
        .argument("GSI")
        .optional();
    let json = long("json")
        .help("Print one JSON object instead of the report")
        .switch();
    construct!(Arguments { gsi, json, dump })
        .to_options()
        .descr(
            "Explains a GSI routing table: where each GSI goes, and which signals KVM would lose.",
        )
        .footer("The exit code is 1 if KVM refuses the table.")
}

fn main() -> ExitCode {
    end("routing", run(&parse(arguments())))
}

fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let report = match &arguments.dump {
        Some(path) => load(path)?,
        None => fresh_pc::report()?,
    };
    let width = width::of_stdout();
    show(match (arguments.json, arguments.gsi) {
        (true, gsi) => format!("{}\n", json::object(&report, gsi)),
        (false, Some(gsi)) => text::one(&report, gsi, width),
        (false, None) => text::all(&report, width),
    })?;
    Ok(verdict(!report.is_refused()))
}

fn load(path: &Path) -> Result<Report, Box<dyn Error>> {
    let name = path.display();
    let mut bytes = Vec::new();
    let read = match path.to_str() {
        Some("-") => io::stdin().read_to_end(&mut bytes).map(|_| ()),
        _ => std::fs::read(path).map(|read| bytes = read),
    };
    read.map_err(|error| format!("cannot read {name}: {error}"))?;
    let dump: Result<Dump, _> = String::from_utf8_lossy(&bytes).parse();
    let dump = dump.map_err(|error| format!("{name}: {error}"))?;
    Ok(Report::of_dump(name.to_string(), dump))
}

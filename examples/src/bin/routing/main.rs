// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Explains a GSI routing table: that of a fresh PC on this machine, or one from a bug report.
//!
//! What would be lost and what is odd comes first, then which GSI leads to which chips, then how a signal
//! of each travels.

mod drawing;
mod json;
mod known;
mod line;
mod machine;
mod ranges;
mod report;
mod text;

use std::error::Error;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bpaf::{OptionParser, Parser, construct, long, positional};
use examples::program::{end, show};

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
        "A table as text, one entry a line such as \"gsi=4 type=1 2 4\"; \"-\" reads standard input \
         [default: the table of a fresh PC]",
    );
    let dump = dump.optional();
    let gsi = long("gsi")
        .help("Explain this GSI alone")
        .argument("GSI")
        .optional();
    let json = long("json")
        .help("Print one JSON document instead of the report")
        .switch();
    construct!(Arguments { gsi, json, dump })
        .to_options()
        .descr("How interrupts travel: explains a GSI routing table, entry by entry.")
}

fn main() -> ExitCode {
    let arguments = arguments().run();
    let shown = run(&arguments).and_then(|text| Ok(show(text)?));
    end("routing", shown.map(|()| ExitCode::SUCCESS))
}

fn run(arguments: &Arguments) -> Result<String, Box<dyn Error>> {
    let report = match &arguments.dump {
        Some(path) => load(path)?,
        None => machine::report()?,
    };
    Ok(match (arguments.json, arguments.gsi) {
        (true, gsi) => format!("{:#}\n", json::document(&report, gsi)),
        (false, Some(gsi)) => text::one(&report, gsi),
        (false, None) => text::all(&report),
    })
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

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest of two vCPUs programs the MSI-X table of a device, while threads of the host trigger it.
//!
//! Half of the vectors are internal, the others exported. The guest masks and unmasks them, and the
//! function as a whole, and retargets them from one vCPU to the other, at random.
//!
//! Half of the triggers are in lock-step: the next trigger of a vector comes only after the guest
//! has counted the previous one, so the guest takes exactly as many interrupts as were triggered.
//! The other half are a storm, whose triggers coalesce. Internal and exported vectors have both.
//! The report counts for each part what was triggered, delivered, lost, doubled or coalesced, and
//! what was injected while the vector was masked.

mod device;
mod driver;
#[cfg(target_arch = "x86_64")]
mod guest;
#[cfg(target_arch = "x86_64")]
mod kvm;
mod layout;
mod report;
mod sim;
mod triggers;
mod watch;

use std::error::Error;
use std::process::ExitCode;

use bpaf::{OptionParser, Parser, construct, long};
use examples::arguments::{backend, count, seed};
use examples::interrupt;
use examples::program::{Backend, end, parse, print};

use report::Report;

#[derive(Debug, Clone)]
struct Arguments {
    settings: Settings,
    backend: Option<Backend>,
    json: bool,
}

#[derive(Debug, Clone)]
struct Settings {
    triggers: u64,
    seed: u64,
}

fn arguments() -> OptionParser<Arguments> {
    let triggers = count(
        long("triggers").help("How many triggers, half of them in lock-step"),
        100_000,
    )
    .map(u64::from);
    let seed = seed();
    let settings = construct!(Settings { triggers, seed });
    let backend = backend();
    let json = long("json")
        .help("Print one JSON object instead of the report")
        .switch();
    construct!(Arguments {
        settings,
        backend,
        json
    })
    .to_options()
    .descr(
        "Interrupts in lock-step and in a storm, while the guest masks and retargets its vectors: \
         none lost, none doubled, none while masked.",
    )
}

fn main() -> ExitCode {
    end("msix", report(&parse(arguments())))
}

fn report(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    Ok(print(&run(arguments)?, arguments.json)?)
}

fn run(arguments: &Arguments) -> Result<Report, Box<dyn Error>> {
    interrupt::catch(|| {})?;
    match arguments.backend.unwrap_or_else(|| Backend::choose("msix")) {
        #[cfg(target_arch = "x86_64")]
        Backend::Kvm => kvm::run(&arguments.settings),
        #[cfg(not(target_arch = "x86_64"))]
        Backend::Kvm => Err("the guest is x86-64 code, and this is another processor".into()),
        Backend::Sim => sim::run(&arguments.settings),
    }
}

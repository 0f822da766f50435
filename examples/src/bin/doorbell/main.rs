// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest kicks eight doorbells of two queues, and the host raises an interrupt for each kick.
//!
//! Then it kicks them again with no ioeventfd registered, so that each kick exits to user space.
//! The report prints what was kicked, handled, signalled and taken, and what a kick costs the guest
//! either way.

mod bells;
mod busy;
mod device;
#[cfg(target_arch = "x86_64")]
mod guest;
#[cfg(target_arch = "x86_64")]
mod kvm;
mod latency;
mod report;
mod sim;
mod wiring;

use std::error::Error;
use std::process::ExitCode;

use bpaf::{OptionParser, Parser, construct, long};
use examples::arguments::{Idle, backend, count, idle};
use examples::interrupt;
use examples::program::{Backend, end, parse, print};

use report::Report;

#[derive(Debug, Clone)]
struct Arguments {
    kicks: u32,
    backend: Option<Backend>,
    #[cfg_attr(
        not(target_arch = "x86_64"),
        expect(dead_code, reason = "a real guest is x86-64 code")
    )]
    idle: Idle,
    json: bool,
}

fn arguments() -> OptionParser<Arguments> {
    let kicks = count(long("kicks").help("How many kicks each way"), 20_000);
    let backend = backend();
    let idle = idle();
    let json = long("json")
        .help("Print one JSON object instead of the report")
        .switch();
    construct!(Arguments {
        kicks,
        backend,
        idle,
        json
    })
    .to_options()
    .descr(
        "A guest kicks, the host interrupts: doorbells and interrupts at full speed, with nothing \
            lost.",
    )
}

fn main() -> ExitCode {
    end("doorbell", report(&parse(arguments())))
}

fn report(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    Ok(print(&run(arguments)?, arguments.json)?)
}

fn run(arguments: &Arguments) -> Result<Report, Box<dyn Error>> {
    interrupt::catch(|| {})?;
    match arguments
        .backend
        .unwrap_or_else(|| Backend::choose("doorbell"))
    {
        #[cfg(target_arch = "x86_64")]
        Backend::Kvm => kvm::run(arguments.kicks, arguments.idle),
        #[cfg(not(target_arch = "x86_64"))]
        Backend::Kvm => Err("the guest is x86-64 code, and this is another processor".into()),
        Backend::Sim => sim::run(arguments.kicks),
    }
}

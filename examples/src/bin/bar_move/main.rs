// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest kicks 64 queues without pause while the host moves the BAR with their doorbells back and
//! forth.
//!
//! The guest reads where the BAR is before each kick. So a kick may reach the new place before its
//! doorbell is registered there, and the old place after its doorbell was deregistered. Eventfd
//! counters add up, so the counts are exact: each kick arrives once, by ioeventfd or by an exit.

mod device;
#[cfg(target_arch = "x86_64")]
mod guest;
#[cfg(target_arch = "x86_64")]
mod kvm;
mod mover;
mod report;
mod sim;

use std::error::Error;
use std::process::ExitCode;

use bpaf::{OptionParser, Parser, construct, long};
use examples::arguments::{backend, choice, count};
use examples::interrupt;
use examples::program::{Backend, end, parse, print};

use report::Report;

#[derive(Debug, Clone)]
struct Arguments {
    kicks: u32,
    backend: Option<Backend>,
    order: Order,
    faults: bool,
    json: bool,
}

fn arguments() -> OptionParser<Arguments> {
    let kicks = long("kicks").help("How many kicks, rounded up to whole rounds of the 64 queues");
    let kicks = count(kicks, 200_000);
    let backend = backend();
    let order = long("order").help(
        "What a move does first: it registers the doorbells at the new place, so that none is ever \
         absent, or it deregisters those at the old place, which is quicker, with exits in between \
         [default: additions]",
    );
    let orders = &[
        ("additions", Order::Additions),
        ("removals", Order::Removals),
    ];
    let order = choice(order, "additions|removals", orders).fallback(Order::Additions);
    let faults = long("faults")
        .help("Make each ioctl of a move fail in turn, one a move (only with --backend sim)")
        .switch();
    let json = long("json")
        .help("Print one JSON object instead of the report")
        .switch();
    construct!(Arguments {
        kicks,
        backend,
        order,
        faults,
        json
    })
    .to_options()
    .descr("A guest kicks 64 queues while their BAR moves to and fro, and no kick is lost.")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Additions,
    Removals,
}

fn main() -> ExitCode {
    end("bar_move", report(&parse(arguments())))
}

fn report(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    Ok(print(&run(arguments)?, arguments.json)?)
}

fn run(arguments: &Arguments) -> Result<Report, Box<dyn Error>> {
    interrupt::catch(|| {})?;
    match arguments
        .backend
        .unwrap_or_else(|| choose(arguments.faults))
    {
        Backend::Kvm if arguments.faults => {
            Err("the kernel's ioctls do not fail on demand: use --backend sim".into())
        }
        #[cfg(target_arch = "x86_64")]
        Backend::Kvm => kvm::run(arguments.kicks, arguments.order),
        #[cfg(not(target_arch = "x86_64"))]
        Backend::Kvm => Err("the guest is x86-64 code, and this is another processor".into()),
        Backend::Sim => sim::run(arguments.kicks, arguments.order, arguments.faults),
    }
}

/// A real guest if there can be one; otherwise prints why not.
fn choose(faults: bool) -> Backend {
    if faults {
        eprintln!("bar_move: faults are for the simulator; simulating a guest");
        return Backend::Sim;
    }
    Backend::choose("bar_move")
}

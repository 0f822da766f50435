// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest kicks 64 queues without pause while the host moves the BAR with their doorbells to and fro.
//!
//! The guest reads where the BAR is before each kick, so that a kick may hit the new place before its
//! doorbell is registered, and the old one after its doorbell has gone. Eventfd counters add up, so
//! the counts are exact: each kick arrives once, by ioeventfd or by way of an exit.

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

use clap::{Parser, ValueEnum};
use examples::program::{Backend, end, show, verdict};

use report::Report;

/// A guest kicks 64 queues while their BAR moves to and fro, and no kick is lost.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many kicks, rounded up to whole rounds of the 64 queues
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..))]
    kicks: u32,

    /// What runs the guest [default: kvm if /dev/kvm opens, else sim]
    #[arg(long, value_enum)]
    backend: Option<Backend>,

    /// What a move does first
    #[arg(long, value_enum, default_value_t = Order::Additions)]
    order: Order,

    /// Make each ioctl of a move fail in turn, one a move (only with --backend sim)
    #[arg(long)]
    faults: bool,

    /// Print one JSON object instead of the report
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Order {
    /// It registers the doorbells at the new place: none is ever absent
    Additions,
    /// It deregisters those at the old place: quicker, with exits in between
    Removals,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    end("bar_move", report(&arguments))
}

fn report(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let report = run(arguments)?;
    if arguments.json {
        show(format_args!("{}\n", report.to_json()))?;
    } else {
        show(&report)?;
    }
    Ok(verdict(report.is_exact()))
}

fn run(arguments: &Arguments) -> Result<Report, Box<dyn Error>> {
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

/// A real guest if there can be one; says why not.
fn choose(faults: bool) -> Backend {
    if faults {
        eprintln!("bar_move: faults are for the simulator; simulating a guest");
        return Backend::Sim;
    }
    Backend::choose("bar_move")
}

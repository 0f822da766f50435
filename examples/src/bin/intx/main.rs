// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Three devices share a level-triggered interrupt line: two inside the VMM, and one outside that
//! has only two eventfds.
//!
//! They assert and de-assert at random, while a guest acknowledges their numbers and sends EOIs: to
//! an IOAPIC or a PIC, in the kernel or in user space. The report prints what was asserted and
//! handled, what was lost, what is stuck, and how many EOIs each device was signalled.
#![cfg_attr(
    not(target_arch = "x86_64"),
    expect(dead_code, reason = "the simulated guest reads no register")
)]

mod board;
mod bus;
mod device;
#[cfg(target_arch = "x86_64")]
mod guest;
mod ioapic;
#[cfg(target_arch = "x86_64")]
mod kvm;
mod layout;
mod memory;
mod pic;
mod report;
mod session;
mod sim;
mod storm;
mod watch;

use std::error::Error;
use std::process::ExitCode;

use bpaf::{OptionParser, Parser, construct, long};
use examples::arguments::{backend, choice, count, seed};
use examples::interrupt;
use examples::program::{Backend, Report as _, end, parse, print, show, verdict};

use report::Report;

#[derive(Debug, Clone)]
struct Arguments {
    settings: Settings,
    chip: Option<Chip>,
    irqchip: Option<Irqchip>,
    backend: Option<Backend>,
    json: bool,
}

#[derive(Debug, Clone)]
struct Settings {
    /// By all devices together, in each run.
    assertions: u64,
    seed: u64,
}

fn arguments() -> OptionParser<Arguments> {
    let assertions =
        long("assertions").help("How many assertions, by all devices together, in each run");
    let assertions = count(assertions, 100_000).map(u64::from);
    let seed = seed();
    let settings = construct!(Settings { assertions, seed });
    let chip = long("chip").help("Which controller the guest uses [default: each in turn]");
    let chips = &[("ioapic", Chip::Ioapic), ("pic", Chip::Pic)];
    let chip = choice(chip, "ioapic|pic", chips).optional();
    let irqchip = long("irqchip").help(
        "Where that controller is: in the kernel (full), or in this program, with the local APIC \
         alone in the kernel (split) [default: each in turn]",
    );
    let irqchips = &[("full", Irqchip::Full), ("split", Irqchip::Split)];
    let irqchip = choice(irqchip, "full|split", irqchips).optional();
    let backend = backend();
    let json = long("json")
        .help("Print one JSON object for each run instead of the reports")
        .switch();
    construct!(Arguments {
        settings,
        chip,
        irqchip,
        backend,
        json
    })
    .to_options()
    .descr("A level-triggered line that three devices share: nothing lost, nothing stuck.")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chip {
    /// The IOAPIC.
    Ioapic,
    /// The pair of 8259A.
    Pic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Irqchip {
    /// In the kernel.
    Full,
    /// In this program; the kernel has the local APIC only.
    Split,
}

/// One run.
#[derive(Debug, Clone, Copy)]
struct Run {
    chip: Chip,
    irqchip: Irqchip,
}

impl Chip {
    fn name(self) -> &'static str {
        match self {
            Self::Ioapic => "ioapic",
            Self::Pic => "pic",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Ioapic => "an IOAPIC",
            Self::Pic => "a PIC",
        }
    }
}

impl Irqchip {
    fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Split => "split",
        }
    }

    fn place(self) -> &'static str {
        match self {
            Self::Full => "in the kernel",
            Self::Split => "in user space",
        }
    }
}

fn main() -> ExitCode {
    end("intx", run_all(&parse(arguments())))
}

fn run_all(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    interrupt::catch(|| {})?;
    let backend = arguments.backend.unwrap_or_else(|| Backend::choose("intx"));
    let mut is_exact = true;
    for run in runs(arguments) {
        let report = run_one(backend, run, &arguments.settings)?;
        let code = print(&report, arguments.json)?;
        if interrupt::is_pending() {
            return Ok(code);
        }
        if !arguments.json {
            show("\n")?;
        }
        is_exact &= report.is_exact();
    }
    Ok(verdict(is_exact))
}

fn runs(arguments: &Arguments) -> impl Iterator<Item = Run> {
    let all = [Irqchip::Full, Irqchip::Split]
        .into_iter()
        .flat_map(|irqchip| [Chip::Ioapic, Chip::Pic].map(|chip| Run { chip, irqchip }));
    all.filter(|run| {
        arguments.chip.is_none_or(|chip| chip == run.chip)
            && arguments
                .irqchip
                .is_none_or(|irqchip| irqchip == run.irqchip)
    })
}

fn run_one(backend: Backend, run: Run, settings: &Settings) -> Result<Report, Box<dyn Error>> {
    match backend {
        #[cfg(target_arch = "x86_64")]
        Backend::Kvm => kvm::run(run, settings),
        #[cfg(not(target_arch = "x86_64"))]
        Backend::Kvm => Err("the guest is x86-64 code, and this is another processor".into()),
        Backend::Sim => sim::run(run, settings),
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest whose vsock device is the kernel's `/dev/vhost-vsock`: it exchanges packets with a host
//! process that has an ordinary AF_VSOCK socket.
//!
//! The guest kicks by ioeventfd, which wakes vhost's worker, and the worker interrupts it by irqfd:
//! no thread of the VMM takes part. The report prints what was sent, what came back, and what it
//! cost the VMM.

#[cfg(target_arch = "x86_64")]
mod report;
#[cfg(target_arch = "x86_64")]
mod run;

use std::error::Error;
use std::process::ExitCode;

use bpaf::{OptionParser, Parser, construct, long};
use examples::arguments::{Idle, count, idle, seed};
use examples::program::{end, parse};
use vhost_examples::arguments::{changes, snapshots};
use vhost_examples::child;
#[cfg(target_arch = "x86_64")]
use vhost_examples::snapshots::Plan;

#[derive(Debug, Clone)]
#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(dead_code, reason = "the guest is x86-64 code")
)]
struct Settings {
    packets: u32,
    changes: u32,
    snapshots: Option<u32>,
    seed: u64,
    idle: Idle,
    json: bool,
}

#[cfg(target_arch = "x86_64")]
impl Settings {
    /// When the VMM takes snapshots.
    fn plan(&self) -> Plan {
        Plan::new(self.snapshots, self.packets, self.seed)
    }
}

fn arguments() -> OptionParser<Settings> {
    let packets = count(
        long("packets").help("How many packets the guest sends"),
        100_000,
    );
    let changes = changes();
    let snapshots = snapshots();
    let seed = seed();
    let idle = idle();
    let json = long("json")
        .help("Print one JSON object instead of the report")
        .switch();
    let settings = construct!(Settings {
        packets,
        changes,
        snapshots,
        seed,
        idle,
        json
    });
    settings
        .to_options()
        .descr("A guest whose vsock device is a worker of vhost in the kernel.")
}

fn main() -> ExitCode {
    if let Some(code) = child::serve("vhost_vsock") {
        return code;
    }
    end("vhost_vsock", run(&parse(arguments())))
}

#[cfg(target_arch = "x86_64")]
fn run(settings: &Settings) -> Result<ExitCode, Box<dyn Error>> {
    use examples::{interrupt, program};

    kvm_probe::probe().map_err(|why| format!("it needs KVM, and there is none: {why}"))?;
    interrupt::catch(|| {})?;
    let report = run::run(settings)?;
    Ok(program::print(&report, settings.json)?)
}

#[cfg(not(target_arch = "x86_64"))]
fn run(_: &Settings) -> Result<ExitCode, Box<dyn Error>> {
    Err("the guest is x86-64 code, and this is another processor".into())
}

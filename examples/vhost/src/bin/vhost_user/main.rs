// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest with a vsock device in another process, which is killed again and again in mid-traffic.
//! The VMM kills it at random, or it kills itself after it has read a kick, or used a buffer
//! without a call.
//!
//! The guest kicks by ioeventfd and is interrupted by irqfd, and the daemon uses both eventfds: no
//! thread of the VMM takes part. After each kill the VMM connects a new daemon, with new eventfds.
//! The report prints what was sent, what came back, and what it cost the VMM.

#[cfg(target_arch = "x86_64")]
mod report;
#[cfg(target_arch = "x86_64")]
mod vmm;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use bpaf::{OptionParser, Parser, construct, long};
use examples::arguments::{Idle, count, idle, seed};
use examples::program::{end, parse};
use vhost_examples::arguments::{changes, snapshots};
use vhost_examples::child;
#[cfg(target_arch = "x86_64")]
use vhost_examples::guest::Load;
#[cfg(target_arch = "x86_64")]
use vhost_examples::snapshots::Plan;

#[derive(Debug, Clone)]
#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(dead_code, reason = "the guest is x86-64 code")
)]
struct Settings {
    packets: u32,
    restarts: u32,
    changes: u32,
    snapshots: Option<u32>,
    seed: u64,
    idle: Idle,
    patience: Duration,
    json: bool,
}

#[cfg(target_arch = "x86_64")]
impl Settings {
    fn load(&self) -> Load {
        Load::new(self.packets, self.changes, self.idle)
    }

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
    let restarts = long("restarts").help("How many daemons are killed");
    let restarts = restarts.argument("COUNT").fallback(20).display_fallback();
    let changes = changes();
    let snapshots = snapshots();
    let seed = seed();
    let idle = idle();
    let patience = long("patience").help(
        "How many seconds the guest may stand still, or a daemon keep the VMM waiting, before \
            the run \
         ends with an error",
    );
    let patience = patience.argument::<u64>("SECONDS").fallback(60);
    let patience = patience.display_fallback().map(Duration::from_secs);
    let json = long("json")
        .help("Print one JSON object instead of the report")
        .switch();
    let settings = construct!(Settings {
        packets,
        restarts,
        changes,
        snapshots,
        seed,
        idle,
        patience,
        json
    });
    settings.to_options().descr(
        "A guest whose device is a daemon of vhost-user, killed and started anew in mid-traffic.",
    )
}

fn main() -> ExitCode {
    if let Some(code) = child::serve("vhost_user") {
        return code;
    }
    end("vhost_user", run(&parse(arguments())))
}

#[cfg(target_arch = "x86_64")]
fn run(settings: &Settings) -> Result<ExitCode, Box<dyn Error>> {
    use examples::{interrupt, program};

    kvm_probe::probe().map_err(|why| format!("it needs KVM, and there is none: {why}"))?;
    interrupt::catch(|| {})?;
    let report = vmm::run(settings)?;
    Ok(program::print(&report, settings.json)?)
}

#[cfg(not(target_arch = "x86_64"))]
fn run(_: &Settings) -> Result<ExitCode, Box<dyn Error>> {
    Err("the guest is x86-64 code, and this is another processor".into())
}

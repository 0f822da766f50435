// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A packet of a guest to its vhost device and back, with and without a thread of the VMM that
//! carries kicks and calls.

use std::error::Error;
use std::process;

use examples::arguments::Idle;
use vhost_examples::guest::Load;
use vhost_examples::round_trip::{RoundTrips, direct, relayed};
use vhost_examples::vsock::Addresses;
use vhost_examples::{kernel, user};

use crate::measure::median;
use crate::row::{Missing, Row};

const ROUNDS: u32 = 5;
const PACKETS: u32 = 1000;
/// The context identifier of the host, and one that is unique in this process.
const HOST: u64 = 2;
const GUEST: u64 = 0x3000_0000;

/// To a daemon in another process.
pub(crate) fn user() -> Result<Row, Box<dyn Error>> {
    let addresses = Addresses {
        guest: (GUEST, 1024),
        host: (HOST, 1234),
    };
    let load = Load::new(PACKETS, 0, Idle::Halt);
    compare(
        || {
            let (mut device, trips) = direct(user::Device::new(0), &addresses, &load)?;
            device.end()?;
            Ok(trips)
        },
        || {
            let (mut device, trips) = relayed(user::Device::new(0), &addresses, &load)?;
            device.end()?;
            Ok(trips)
        },
        "a vhost-user daemon",
    )
}

/// To a worker in the kernel, and by it to another process.
pub(crate) fn vsock() -> Result<Row, Box<dyn Error>> {
    compare(
        || in_the_kernel(direct),
        || in_the_kernel(relayed),
        "vhost's worker in the kernel, and another process behind it",
    )
}

type Runs<D> = fn(D, &Addresses, &Load) -> Result<(D, RoundTrips), Box<dyn Error>>;

fn in_the_kernel(run: Runs<kernel::Device>) -> Result<RoundTrips, Box<dyn Error>> {
    let cid = GUEST + u64::from(process::id());
    let device = kernel::Device::new(cid).map_err(|why| Missing(why.to_string()))?;
    let (host, port) = kernel::Host::start()?;
    let addresses = Addresses {
        guest: (cid, 1024),
        host: (HOST, port),
    };
    // An emulated processor may let an interrupt in between the guest's sti and hlt.
    let load = Load::new(PACKETS, 0, Idle::Spin);
    let (device, trips) = run(device, &addresses, &load)?;
    // This ends the connection.
    drop(device);
    host.end()?;
    Ok(trips)
}

fn compare(
    mut direct: impl FnMut() -> Result<RoundTrips, Box<dyn Error>>,
    mut relayed: impl FnMut() -> Result<RoundTrips, Box<dyn Error>>,
    device: &str,
) -> Result<Row, Box<dyn Error>> {
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(direct()?);
        others.push(relayed()?);
    }
    let time = |runs: &[RoundTrips]| median(runs.iter().map(|run| run.nanoseconds).collect());
    let [exits, their_exits] = [&ours, &others].map(|runs| each(runs, |run| run.exits));
    let [wakeups, their_wakeups] = [&ours, &others].map(|runs| each(runs, |run| run.wakeups));
    let signals = each(&others, |run| run.signals);
    Ok(Row::times(
        "a thread of the VMM that carries kicks and calls",
        time(&ours),
        time(&others),
        format!(
            "kick, {device}, call, handler; for each packet: exits {exits:.2} against \
             {their_exits:.2}, wake-ups of the VMM {wakeups:.2} against {their_wakeups:.2} for \
             {signals:.2} \
             signals"
        ),
    ))
}

/// The count of something for each packet.
#[expect(clippy::cast_precision_loss, reason = "these are small numbers")]
fn each(runs: &[RoundTrips], of: fn(&RoundTrips) -> u64) -> f64 {
    let sum: u64 = runs.iter().map(of).sum();
    sum as f64 / f64::from(ROUNDS * PACKETS)
}

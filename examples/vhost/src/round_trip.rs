// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`direct`] and [`relayed`]: the time of a packet from the guest's kick to its interrupt, with
//! and without a thread of the VMM between guest and back-end.

use std::error::Error;

use crate::guest::Load;
use crate::relay::Relayed;
use crate::session::Session;
use crate::snapshots::Plan;
use crate::vmm::{Device, Vmm};
use crate::vsock::Addresses;
use crate::watch;

/// The measurements of a run.
#[derive(Debug, Clone, Copy)]
pub struct RoundTrips {
    /// Mean time of a packet, in nanoseconds.
    pub nanoseconds: f64,
    /// Exits to user space for kicks.
    pub exits: u64,
    /// How many times a thread of the VMM was woken.
    pub wakeups: u64,
    /// How many kicks and calls that thread has carried.
    pub signals: u64,
}

/// Measures without a thread of the VMM. Returns the device, which has stopped.
///
/// # Errors
///
/// Those of KVM and of the device, and if a packet is lost.
pub fn direct<D: Device + Send>(
    device: D,
    addresses: &Addresses,
    load: &Load,
) -> Result<(D, RoundTrips), Box<dyn Error>> {
    run(device, addresses, load)
}

/// Measures with a thread that carries each signal. Returns the device, which has stopped.
///
/// # Errors
///
/// As for [`direct`].
pub fn relayed<D: Device + Send>(
    device: D,
    addresses: &Addresses,
    load: &Load,
) -> Result<(D, RoundTrips), Box<dyn Error>> {
    let (device, mut trips) = run(Relayed::new(device), addresses, load)?;
    (trips.wakeups, trips.signals) = (device.wakeups(), device.signals());
    Ok((device.into_device(), trips))
}

#[expect(clippy::cast_precision_loss, reason = "these are small numbers")]
fn run<D: Device + Send>(
    device: D,
    addresses: &Addresses,
    load: &Load,
) -> Result<(D, RoundTrips), Box<dyn Error>> {
    let (session, vcpu) = Session::new(addresses, load)?;
    let tsc_khz = f64::from(vcpu.tsc_khz()?);
    let vmm = Vmm::new(device, session);
    let watched = watch::run(&vmm, vcpu, &Plan::NONE, load.packets)?;
    let totals = vmm.totals()?;
    let (mut device, session) = vmm.into_parts();
    device.stop(&session)?;
    let answered = session.guest().answered()?;
    if answered != u64::from(load.packets) {
        return Err(format!("{answered} of {} packets came back", load.packets).into());
    }
    let milliseconds = session.guest().ticks()? as f64 / tsc_khz;
    Ok((
        device,
        RoundTrips {
            nanoseconds: milliseconds * 1e6 / f64::from(load.packets),
            exits: totals.exits,
            wakeups: watched.wakeups,
            signals: 0,
        },
    ))
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A run, from the first VM to the last.

use std::error::Error;
use std::process;

use examples::interrupt;
use vhost_examples::descriptors;
use vhost_examples::guest::Load;
use vhost_examples::kernel::{Device, Host};
use vhost_examples::report::Traffic;
use vhost_examples::session::Session;
use vhost_examples::vmm::{Device as _, Vmm};
use vhost_examples::vsock::Addresses;
use vhost_examples::watch;

use crate::Settings;
use crate::report::Report;

/// The context identifier of the host (VIRTIO 1.3, 5.10.4).
const HOST: u64 = 2;
/// That of the guest, plus this process's number, so that it is unique on the host.
const GUEST: u64 = 0x2000_0000;
/// The port of the guest.
const PORT: u32 = 1024;

pub(crate) fn run(settings: &Settings) -> Result<Report, Box<dyn Error>> {
    let before = descriptors::open()?;
    let mut report = traffic(settings)?;
    report.descriptors = [before, descriptors::open()?];
    Ok(report)
}

/// Runs a guest from its beginning to its end.
fn traffic(settings: &Settings) -> Result<Report, Box<dyn Error>> {
    let cid = GUEST + u64::from(process::id());
    let device = Device::new(cid)?;
    let (host, port) = Host::start()?;
    let addresses = Addresses {
        guest: (cid, PORT),
        host: (HOST, port),
    };
    let load = Load::new(settings.packets, settings.changes, settings.idle);
    let (session, vcpu) = Session::new(&addresses, &load)?;
    let vmm = Vmm::new(device, session);

    let plan = settings.plan();
    let watched = watch::run(&vmm, vcpu, &plan, settings.packets)?;
    let session = vmm.session();
    let mut device = vmm.device();
    device.stop(&session)?;
    let ring_errors = device.ring_errors();
    drop(device);
    let traffic = Traffic {
        load,
        wanted_snapshots: plan.count,
        interrupted: interrupt::is_pending(),
        counts: session.guest().counts()?,
        totals: vmm.totals()?,
        took: watched.took,
    };
    // This closes the device, which ends the connection.
    drop((vmm, session));
    Ok(Report {
        traffic,
        echoed: host.end()?,
        ring_errors,
        wakeups: watched.wakeups,
        descriptors: [0; 2],
    })
}

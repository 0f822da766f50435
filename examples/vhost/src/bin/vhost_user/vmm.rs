// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The VMM: it runs the guest, and kills the daemon at random.

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use examples::interrupt;
use examples::progress::Progress;
use examples::random::Random;
use vhost_examples::descriptors;
use vhost_examples::report::Traffic;
use vhost_examples::session::Session;
use vhost_examples::user::{Device, Leash};
use vhost_examples::vmm::{Device as _, Vmm};
use vhost_examples::vsock::Addresses;
use vhost_examples::watch::SHORT_PATIENCE;

use crate::Settings;
use crate::report::Report;

/// Both ends of the connection. The host's context identifier is 2 (VIRTIO 1.3, 5.10.4).
const ADDRESSES: Addresses = Addresses {
    guest: (42, 1024),
    host: (2, 1234),
};
/// How often the killing thread looks at the guest.
const LOOK: Duration = Duration::from_micros(200);
/// A kill comes up to so many microseconds after its packet, which was drawn at random.
const DELAY: u32 = 500;

pub(crate) fn run(settings: &Settings) -> Result<Report, Box<dyn Error>> {
    let before = descriptors::open()?;
    let mut report = traffic(settings)?;
    report.descriptors = [before, descriptors::open()?];
    Ok(report)
}

/// Runs a guest from its beginning to its end.
fn traffic(settings: &Settings) -> Result<Report, Box<dyn Error>> {
    let mut random = Random::new(settings.seed, 0);
    let load = settings.load();
    let (session, vcpu) = Session::new(&ADDRESSES, &load)?;
    let device = Device::new(last_moment(settings, &mut random));
    let leash = device.leash();
    let vmm = Vmm::new(device, session);

    let start = Instant::now();
    let plan = settings.plan();
    let (restarts, ended, asked) = thread::scope(|scope| {
        let asking = scope.spawn(|| plan.carry_out(&vmm));
        let running = scope.spawn(|| vmm.run(vcpu));
        let is_over = || running.is_finished();
        let restarts = kill_at_random(settings, &mut random, &vmm, &leash, is_over);
        let moved = running.is_finished();
        while !running.is_finished() {
            // The vCPU's thread may wait for the daemon, or be in the guest.
            leash.kill();
            vmm.end();
            thread::sleep(LOOK);
        }
        let ended = running.join().map(|ended| (moved, ended));
        vmm.end();
        (restarts, ended, asking.join())
    });
    let took = start.elapsed();
    let (moved, ended) = ended.map_err(|_| "the vCPU's thread panicked")?;
    let session = vmm.session();
    let interrupted = interrupt::is_pending();
    if !moved && !interrupted {
        let answered = session.guest().answered()?;
        let packets = settings.packets;
        return Err(format!("the guest is stuck: {answered} of {packets} came back").into());
    }
    ended?;
    let restarts = restarts?;
    asked.map_err(|_| "the thread that asks for snapshots panicked")??;
    if moved {
        leash.within(settings.patience, || {
            let mut device = vmm.device();
            device.stop(&session)?;
            device.end()
        })?;
    }
    Ok(Report {
        traffic: Traffic {
            load,
            wanted_snapshots: plan.count,
            interrupted,
            counts: session.guest().counts()?,
            totals: vmm.totals()?,
            took,
        },
        wanted_restarts: settings.restarts,
        restarts,
        descriptors: [0; 2],
    })
}

/// Restarts the daemon when it has killed itself, or when the drawn packets have come back, and
/// then waits for the end of the guest. Returns the number of restarts: fewer than wanted if the
/// guest makes no progress.
fn kill_at_random(
    settings: &Settings,
    random: &mut Random,
    vmm: &Vmm<Device>,
    leash: &Leash,
    is_over: impl Fn() -> bool,
) -> Result<u32, Box<dyn Error>> {
    // Not among the last packets, so that there is traffic when the kill comes.
    let last = (settings.packets / 10 * 9).max(1);
    let mut packets: Vec<_> = (0..settings.restarts).map(|_| random.below(last)).collect();
    packets.sort_unstable();
    let mut progress = Progress::new("packets", settings.packets.into());
    let mut reaches = |packet| {
        let progress = &mut progress;
        reaches(vmm, leash, settings.patience, packet, progress, &is_over)
    };
    let mut restarts = 0;
    for packet in packets {
        if !reaches(packet.into())? {
            return Ok(restarts);
        }
        thread::sleep(Duration::from_micros(random.below(DELAY).into()));
        // The last daemon has to serve the guest to its end.
        let is_last = restarts + 1 == settings.restarts;
        let moment = if is_last {
            0
        } else {
            last_moment(settings, random)
        };
        leash.within(settings.patience, || {
            vmm.replace(|device, session| device.restart(session, moment))
        })?;
        restarts += 1;
    }
    reaches(u64::MAX)?;
    Ok(restarts)
}

/// The moment at which the next daemon kills itself: none for half of them, and for all if none is
/// to be killed.
fn last_moment(settings: &Settings, random: &mut Random) -> u32 {
    // A packet has three moments: a kick, a reply and a completion.
    match settings
        .packets
        .saturating_mul(3)
        .checked_div(settings.restarts)
    {
        Some(moments) if random.chance(2) => 1 + random.below(moments.max(1)),
        _ => 0,
    }
}

/// Waits until `packets` packets have come back, or the daemon has killed itself. Returns false if
/// the guest ends before, or makes no progress. Asks the guest to finish when the user ends the
/// run.
fn reaches(
    vmm: &Vmm<Device>,
    leash: &Leash,
    patience: Duration,
    packet: u64,
    progress: &mut Progress,
    is_over: impl Fn() -> bool,
) -> Result<bool, Box<dyn Error>> {
    let (mut last, mut moved) = (None, Instant::now());
    loop {
        // Neither call waits for the vCPU's thread, which may wait for the daemon.
        let session = vmm.session();
        let answered = session.guest().answered()?;
        progress.show(answered);
        let mut patience = patience;
        if interrupt::is_pending() {
            session.guest().stop()?;
            patience = SHORT_PATIENCE;
        } else if answered >= packet {
            return Ok(true);
        }
        if leash.has_died()? {
            return Ok(true);
        }
        if last != Some(answered) {
            (last, moved) = (Some(answered), Instant::now());
        }
        if is_over() || moved.elapsed() > patience {
            return Ok(false);
        }
        thread::sleep(LOOK);
    }
}

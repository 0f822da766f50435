// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The VMM: it runs the guest, and kills the daemon at random.

use std::error::Error;
use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use examples::random::Random;
use notify_core::KvmVm;
use tiny_guest::{Exit, Machine, Vcpu};
use vhost_examples::guest::{DONE, Guest};
use vhost_examples::vsock::Addresses;

use crate::Settings;
use crate::device::Device;
use crate::report::Report;
use crate::wiring::{DEVICE, Wiring};

/// Both ends of the connection. The host's context identifier is 2 (VIRTIO 1.3, 5.10.4).
const ADDRESSES: Addresses = Addresses {
    guest: (42, 1024),
    host: (2, 1234),
};
/// A guest that has not moved for so long waits for an interrupt that was lost.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the thread that kills looks at the guest.
const LOOK: Duration = Duration::from_micros(200);
/// A kill comes up to so many microseconds after the packet that was drawn for it.
const DELAY: u32 = 500;

pub(crate) fn run(settings: &Settings) -> Result<Report, Box<dyn Error>> {
    let before = open_descriptors()?;
    let mut report = traffic(settings)?;
    report.descriptors = [before, open_descriptors()?];
    Ok(report)
}

/// How many file descriptors this process has, without the one that the count needs.
fn open_descriptors() -> Result<usize, Box<dyn Error>> {
    Ok(fs::read_dir("/proc/self/fd")?.count() - 1)
}

/// A machine from its beginning to its end.
fn traffic(settings: &Settings) -> Result<Report, Box<dyn Error>> {
    let (machine, vcpus) = Machine::builder().shared_memory().build()?;
    let mut vcpu = vcpus.into_iter().next().ok_or("a machine without a vCPU")?;
    let guest = Guest::new(&machine, &ADDRESSES)?;
    vcpu.load(guest.program(settings.packets, settings.idle, &DEVICE)?)?;
    let vm = Arc::new(KvmVm::try_from(machine.vm())?);
    let wiring = Wiring::new(vm)?;
    let mut device = Device::new(machine.memory(), *guest.rings(), &wiring);
    let mut random = Random::new(settings.seed, 0);
    device.start(last_moment(settings, &mut random))?;

    let start = Instant::now();
    let exits = Exits::default();
    let stopper = vcpu.stopper();
    let (restarts, ended) = thread::scope(|scope| {
        let running = scope.spawn(|| drive(&mut vcpu, &wiring, &exits));
        let is_over = || running.is_finished();
        let restarts = kill_at_random(settings, &mut random, &guest, &mut device, &exits, is_over);
        if !running.is_finished() {
            stopper.stop();
        }
        (restarts, running.join())
    });
    let took = start.elapsed();
    ended.map_err(|_| "the vCPU's thread panicked")??;
    let restarts = restarts?;
    device.stop()?;

    let [received, transmitted] = guest.rings();
    let memory = machine.memory();
    let used = received.used_index(memory)?;
    let completed = transmitted.used_index(memory)?;
    Ok(Report {
        packets: settings.packets,
        wanted_restarts: settings.restarts,
        restarts,
        counts: guest.counts()?,
        used,
        completed,
        ring_errors: device.ring_errors(),
        exits: exits.of_traffic.load(SeqCst),
        restart_exits: exits.of_restarts.load(SeqCst),
        descriptors: [0; 2],
        took,
    })
}

/// Returns of KVM_RUN to user space, each of which is a wake-up of the VMM.
#[derive(Debug, Default)]
struct Exits {
    of_traffic: AtomicU64,
    of_restarts: AtomicU64,
    /// How many restarts have begun and ended.
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Exits {
    /// Counts an exit of a run that began when so many restarts had ended.
    ///
    /// A restart makes the guest exit if it kicks while its doorbell gets another eventfd.
    fn count(&self, ended: u64) {
        let exits = match self.begun.load(SeqCst) > ended {
            true => &self.of_restarts,
            false => &self.of_traffic,
        };
        exits.fetch_add(1, SeqCst);
    }
}

/// Runs the guest to its end.
fn drive(vcpu: &mut Vcpu, wiring: &Wiring, exits: &Exits) -> Result<(), String> {
    loop {
        let ended = exits.ended.load(SeqCst);
        let (address, data) = match vcpu.run().map_err(|error| error.to_string())? {
            Exit::MmioWrite { address, data } => (address, data),
            Exit::Finished(DONE) | Exit::Stopped => return Ok(()),
            Exit::Finished(code) => return Err(format!("the guest gave up: {code}")),
            other => return Err(format!("the guest did something unexpected: {other:?}")),
        };
        exits.count(ended);
        let kicked = wiring.kicked(address, data);
        if !kicked.map_err(|error| error.to_string())? {
            return Err(format!("the guest wrote {data:?} to {address:#x}"));
        }
    }
}

/// Restarts the daemon when it has died by itself, or when packets that were drawn have come back, and then waits for the end of
/// the guest. Returns how many restarts there were; fewer than were wanted if the guest does not
/// move.
fn kill_at_random(
    settings: &Settings,
    random: &mut Random,
    guest: &Guest,
    device: &mut Device<'_>,
    exits: &Exits,
    is_over: impl Fn() -> bool,
) -> Result<u32, Box<dyn Error>> {
    // Not among the last, so that the kill comes while there is traffic.
    let last = (settings.packets / 10 * 9).max(1);
    let mut packets: Vec<_> = (0..settings.restarts).map(|_| random.below(last)).collect();
    packets.sort_unstable();
    let mut restarts = 0;
    for packet in packets {
        if !reaches(guest, u64::from(packet), &is_over, || device.has_died())? {
            return Ok(restarts);
        }
        thread::sleep(Duration::from_micros(random.below(DELAY).into()));
        exits.begun.fetch_add(1, SeqCst);
        // The last one has to see the end.
        let is_last = restarts + 1 == settings.restarts;
        let moment = if is_last {
            0
        } else {
            last_moment(settings, random)
        };
        device.restart(moment)?;
        exits.ended.fetch_add(1, SeqCst);
        restarts += 1;
    }
    reaches(guest, u64::MAX, &is_over, || Ok(false))?;
    Ok(restarts)
}

/// The moment at which the next daemon kills itself: none for half of them, and for all if none is to
/// be killed.
fn last_moment(settings: &Settings, random: &mut Random) -> u32 {
    // A packet has three: a kick, an answer and a completion.
    match settings
        .packets
        .saturating_mul(3)
        .checked_div(settings.restarts)
    {
        Some(moments) if random.chance(2) => 1 + random.below(moments.max(1)),
        _ => 0,
    }
}

/// Waits until so many packets have come back, or the daemon has died by itself. Returns false if
/// the guest ends before, or does not move.
fn reaches(
    guest: &Guest,
    packet: u64,
    is_over: impl Fn() -> bool,
    mut has_died: impl FnMut() -> io::Result<bool>,
) -> Result<bool, Box<dyn Error>> {
    let (mut last, mut moved) = (None, Instant::now());
    loop {
        let answered = guest.answered()?;
        if answered >= packet || has_died()? {
            return Ok(true);
        }
        if last != Some(answered) {
            (last, moved) = (Some(answered), Instant::now());
        }
        if is_over() || moved.elapsed() > PATIENCE {
            return Ok(false);
        }
        thread::sleep(LOOK);
    }
}

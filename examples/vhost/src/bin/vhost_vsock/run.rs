// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A run, from the first machine to the last.

use std::error::Error;
use std::process;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::gettid;
use vhost_examples::guest::Load;
use vhost_examples::report::Traffic;
use vhost_examples::session::Session;
use vhost_examples::vmm::{Device as _, Vmm};
use vhost_examples::vsock::Addresses;
use vhost_examples::wakeups::wakeups;

use crate::Settings;
use crate::device::Device;
use crate::host::Host;
use crate::report::Report;

/// The context identifier of the host (VIRTIO 1.3, 5.10.4).
const HOST: u64 = 2;
/// That of the guest, to which the number of this process is added: no other guest has it.
const GUEST: u64 = 0x2000_0000;
/// The port of the guest.
const PORT: u32 = 1024;
/// A guest that has not moved for so long waits for an interrupt that was lost.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn run(settings: &Settings) -> Result<Report, Box<dyn Error>> {
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

    let (ready, is_ready) = mpsc::channel();
    let (go, may_go) = mpsc::channel();
    let (over, is_over) = mpsc::channel();
    let (watched, ended, took) = thread::scope(|scope| {
        let vmm = &vmm;
        let running = scope.spawn(move || {
            // The watcher waits for all of these, or fails.
            let _ = ready.send(gettid().as_raw());
            let _: Result<(), _> = may_go.recv();
            let ended = vmm.run(vcpu);
            let _ = over.send(());
            ended
        });
        let start = Instant::now();
        let watched = is_ready.recv().map_err(Into::into).and_then(|vcpu| {
            let before = wakeups(vcpu)?;
            // Dropped here in any case, so that the other thread does not wait for ever.
            let go = go;
            go.send(())?;
            let looks = watch(vmm, &is_over)?;
            // It slept once more than it looked, until the guest was done.
            Ok(wakeups(vcpu)?.saturating_sub(before + looks + 1))
        });
        let took = start.elapsed();
        while !running.is_finished() {
            vmm.session().stop();
            thread::sleep(Duration::from_millis(1));
        }
        (watched, running.join(), took)
    });
    ended.map_err(|_| "the vCPU's thread panicked")??;
    let wakeups = watched.map_err(|error: Box<dyn Error>| error)?;
    let mut hosted = vmm.lock();
    let session = hosted.session.clone();
    hosted.device.stop(&session)?;
    let ring_errors = hosted.device.ring_errors();
    drop(hosted);
    let traffic = Traffic {
        load,
        counts: session.guest().counts()?,
        totals: vmm.totals()?,
        took,
    };
    // This closes the device, which ends the connection.
    drop((vmm, session));
    Ok(Report {
        traffic,
        echoed: host.end()?,
        ring_errors,
        wakeups,
    })
}

/// Sleeps until the guest is done, or does not move. Returns how many times it has looked.
fn watch(vmm: &Vmm<Device>, is_over: &mpsc::Receiver<()>) -> Result<u64, Box<dyn Error>> {
    let (mut last, mut looks) = (None, 0);
    while is_over.recv_timeout(PATIENCE).is_err() {
        looks += 1;
        let answered = vmm.session().guest().answered()?;
        if last.replace(answered) == Some(answered) {
            break;
        }
    }
    Ok(looks)
}

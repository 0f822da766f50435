// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`run`]: the guest in a thread of its own, watched by a thread that sleeps.

use std::error::Error;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use examples::interrupt;
use examples::progress::Progress;
use nix::unistd::gettid;
use tiny_guest::Vcpu;

use crate::snapshots::Plan;
use crate::vmm::{Device, Vmm};
use crate::wakeups::wakeups;

/// A guest that makes no progress for this long waits for an interrupt that was lost.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a guest that was asked to finish may make no progress. Its packet may wait for a daemon
/// that is being started, which takes more than a second on an emulated host. A second Ctrl-C does
/// not wait.
pub const SHORT_PATIENCE: Duration = Duration::from_secs(5);
/// How often the watching thread looks at the guest.
const LOOK: Duration = Duration::from_millis(50);

/// The costs of a run besides exits.
#[derive(Debug, Clone, Copy)]
pub struct Watched {
    /// How many times threads of this process were woken, except the vCPU's, the one that requests
    /// snapshots, and the watching one.
    pub wakeups: u64,
    /// How long it took.
    pub took: Duration,
}

/// Runs a guest with `load` to its end, with snapshots meanwhile. Stops it when it makes no
/// progress any more, or the user ends the run.
///
/// # Errors
///
/// Those of [`Vmm::run`].
pub fn run<D: Device + Send>(
    vmm: &Vmm<D>,
    vcpu: Vcpu,
    plan: &Plan,
    packets: u32,
) -> Result<Watched, Box<dyn Error>> {
    let (ready, is_ready) = mpsc::channel();
    let (go, may_go) = mpsc::channel();
    let (over, is_over) = mpsc::channel();
    let start = Instant::now();
    let (watched, moved, ended, asked) = thread::scope(|scope| {
        let asks = ready.clone();
        let asking = scope.spawn(move || {
            // If this fails, the watcher has failed.
            let _ = asks.send(gettid().as_raw());
            plan.carry_out(vmm)
        });
        let running = scope.spawn(move || {
            let _ = ready.send(gettid().as_raw());
            let _: Result<(), _> = may_go.recv();
            let ended = vmm.run(vcpu);
            let _ = over.send(());
            ended
        });
        let threads = is_ready.recv().and_then(|one| Ok([one, is_ready.recv()?]));
        let watched = threads.map_err(Into::into).and_then(|without| {
            let [one, other] = without;
            let without = [one, other, gettid().as_raw()];
            let before = wakeups(&without)?;
            // Moved here, so that it is dropped in any case and the other thread does not wait for
            // ever.
            let go = go;
            go.send(())?;
            let moved = watch(vmm, &is_over, Progress::new("packets", packets.into()))?;
            let wakeups = wakeups(&without)?.saturating_sub(before);
            Ok((wakeups, moved))
        });
        let moved = matches!(&watched, Ok((_, true)));
        while !moved && !running.is_finished() {
            vmm.end();
            thread::sleep(Duration::from_millis(1));
        }
        let ended = running.join();
        vmm.end();
        (watched, moved, ended, asking.join())
    });
    ended.map_err(|_| "the vCPU's thread panicked")??;
    asked.map_err(|_| "the thread that asks for snapshots panicked")??;
    let (wakeups, _) = watched.map_err(|error: Box<dyn Error>| error)?;
    if !moved && !interrupt::is_pending() {
        let answered = vmm.session().guest().answered()?;
        return Err(format!("the guest is stuck: {answered} packets came back").into());
    }
    Ok(Watched {
        wakeups,
        took: start.elapsed(),
    })
}

/// Looks at the guest until it is done, or makes no progress. Returns whether it is done.
fn watch<D: Device>(
    vmm: &Vmm<D>,
    is_over: &mpsc::Receiver<()>,
    mut progress: Progress,
) -> Result<bool, Box<dyn Error>> {
    let (mut last, mut moved, mut patience) = (None, Instant::now(), PATIENCE);
    while is_over.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        let session = vmm.session();
        if interrupt::is_pending() {
            session.guest().stop()?;
            patience = SHORT_PATIENCE;
        }
        let answered = session.guest().answered()?;
        progress.show(answered);
        if last != Some(answered) {
            (last, moved) = (Some(answered), Instant::now());
        } else if moved.elapsed() > patience {
            return Ok(false);
        }
    }
    Ok(true)
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The device: a thread that answers each kick of a queue with an interrupt of that queue.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use notify_core::{EventNotifier, NotifierPair};

/// What the device has done so far.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) handled: AtomicU64,
    pub(crate) signalled: AtomicU64,
}

/// How long the device looks for the next kick before it sleeps. Waking a thread costs the one who
/// kicks several times what the kick does, and the next kick is seldom far.
const LOOK: Duration = Duration::from_micros(50);

/// Handles the queues until `stop` is signalled.
pub(crate) fn serve(
    queues: &[NotifierPair],
    stop: &EventNotifier,
    counters: &Counters,
) -> Result<(), notify_core::Error> {
    let mut fds: Vec<_> = queues
        .iter()
        .map(|queue| queue.host_notifier().as_fd())
        .chain([stop.as_fd()])
        .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
        .collect();
    while !stop.is_signalled()? {
        // An error is a signal that came in between, or one that the next round meets again.
        let _ = poll(&mut fds, PollTimeout::NONE);
        let mut last_kick = Instant::now();
        while last_kick.elapsed() < LOOK {
            for queue in queues {
                if answer(queue, counters)? {
                    last_kick = Instant::now();
                }
            }
        }
    }
    Ok(())
}

/// Answers the kicks of one queue, if there are any.
fn answer(queue: &NotifierPair, counters: &Counters) -> Result<bool, notify_core::Error> {
    let kicks = queue.host_notifier().consume()?.map_or(0, u64::from);
    counters.handled.fetch_add(kicks, Ordering::Relaxed);
    for _ in 0..kicks {
        // Counted first: the guest may have taken the interrupt before `notify` returns.
        counters.signalled.fetch_add(1, Ordering::Relaxed);
        queue.guest_notifier().notify()?;
    }
    Ok(kicks > 0)
}

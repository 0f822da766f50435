// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Relayed`]: a device without ioeventfd and irqfd, for comparison: a thread of the VMM carries
//! each signal from the guest to the back-end and back.

use std::error::Error;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use notify_core::{EventNotifier, NotifierPair};

use crate::session::Session;
use crate::vmm::Device;

/// A device behind a relay.
#[derive(Debug)]
pub struct Relayed<D> {
    device: D,
    thread: Option<Thread>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    wakeups: AtomicU64,
    signals: AtomicU64,
}

impl<D: Device> Relayed<D> {
    /// Puts a relay before a device that does not run.
    pub fn new(device: D) -> Self {
        Self {
            device,
            thread: None,
            counts: Arc::default(),
        }
    }

    /// Returns the device, which has stopped.
    pub fn into_device(self) -> D {
        self.device
    }

    /// How many times signals woke the thread: returns of its poll.
    #[must_use]
    pub fn wakeups(&self) -> u64 {
        self.counts.wakeups.load(SeqCst)
    }

    /// How many signals the thread has carried. A back-end that looks at its ring once more may
    /// call before it gets a kick; then one wake-up serves both.
    #[must_use]
    pub fn signals(&self) -> u64 {
        self.counts.signals.load(SeqCst)
    }
}

impl<D: Device> Device for Relayed<D> {
    fn start(&mut self, session: &Session, pairs: Vec<NotifierPair>) -> Result<(), Box<dyn Error>> {
        let mut ways = Vec::new();
        let mut inner = Vec::new();
        for outer in pairs {
            let own = NotifierPair::new()?;
            ways.push((outer.host_notifier.clone(), own.host_notifier.clone()));
            ways.push((own.guest_notifier.clone(), outer.guest_notifier.clone()));
            inner.push(own);
        }
        self.device.start(session, inner)?;
        let stop = Arc::new(EventNotifier::new()?);
        let (told, counts) = (Arc::clone(&stop), Arc::clone(&self.counts));
        let thread = thread::spawn(move || carry(&ways, &told, &counts));
        self.thread = Some((stop, thread));
        Ok(())
    }

    fn stop(&mut self, session: &Session) -> Result<(), Box<dyn Error>> {
        self.device.stop(session)?;
        if let Some((stop, thread)) = self.thread.take() {
            stop.notify()?;
            thread.join().map_err(|_| "the relay panicked")??;
        }
        Ok(())
    }

    fn set_pair(&mut self, queue: usize, _: NotifierPair) -> Result<(), Box<dyn Error>> {
        match self.thread {
            // The device gets its own pairs when it starts.
            None => Ok(()),
            Some(_) => {
                Err(format!("queue {queue} cannot move: the relay has its notifiers").into())
            }
        }
    }
}

/// The notifier that stops the thread, and the thread.
type Thread = (Arc<EventNotifier>, JoinHandle<Result<(), String>>);

/// Source and destination of a signal.
type Way = (Arc<EventNotifier>, Arc<EventNotifier>);

/// Carries signals, each from the first notifier of a way to the second one, until `stop` is
/// signalled.
fn carry(ways: &[Way], stop: &EventNotifier, counts: &Counts) -> Result<(), String> {
    let text = |error: notify_core::Error| error.to_string();
    let from = ways.iter().map(|(from, _)| from.as_fd());
    let mut fds: Vec<_> = from
        .chain([stop.as_fd()])
        .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
        .collect();
    loop {
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno.to_string()),
        }
        if stop.is_signalled().map_err(text)? {
            return Ok(());
        }
        counts.wakeups.fetch_add(1, SeqCst);
        for ((from, to), fd) in ways.iter().zip(&fds) {
            if fd.any() != Some(true) {
                continue;
            }
            if let Some(signals) = from.consume().map_err(text)? {
                counts.signals.fetch_add(signals.get(), SeqCst);
                to.notify().map_err(text)?;
            }
        }
    }
}

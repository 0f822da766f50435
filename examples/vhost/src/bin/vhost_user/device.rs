// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Device`]: the daemon of the moment, and its replacement by another.

use std::env;
use std::error::Error;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::{self, Child, Command, Stdio};

use vhost::VhostBackend;
use vhost::vhost_user::Frontend;
use vhost_examples::guest::QUEUES;
use vhost_examples::ring::Ring;
use vm_memory::GuestMemoryMmap;

use crate::DAEMON;
use crate::connection::{Notifiers, connect};
use crate::wiring::Wiring;

/// A device in another process.
pub(crate) struct Device<'a> {
    memory: &'a GuestMemoryMmap,
    rings: [Ring; QUEUES],
    wiring: &'a Wiring,
    daemon: Option<Daemon>,
    started: u32,
    ring_errors: u64,
}

/// A process, and the connection to it. Dropping it kills the process.
struct Daemon {
    process: Child,
    frontend: Frontend,
    notifiers: Vec<Notifiers>,
}

impl<'a> Device<'a> {
    /// A device without a daemon.
    pub(crate) fn new(
        memory: &'a GuestMemoryMmap,
        rings: [Ring; QUEUES],
        wiring: &'a Wiring,
    ) -> Self {
        Self {
            memory,
            rings,
            wiring,
            daemon: None,
            started: 0,
            ring_errors: 0,
        }
    }

    /// How often a daemon has found a ring in disorder.
    pub(crate) fn ring_errors(&self) -> u64 {
        self.ring_errors
    }

    /// Starts a daemon, and connects it with new eventfds.
    pub(crate) fn start(&mut self) -> Result<(), Box<dyn Error>> {
        let after_crash = self.started > 0;
        let name = format!("vhost_user-{}-{}", process::id(), self.started);
        self.started += 1;
        let address = SocketAddr::from_abstract_name(name)?;
        let listener = UnixListener::bind_addr(&address)?;
        // It waits in the backlog until the daemon takes it, and breaks if the daemon dies before.
        let stream = UnixStream::connect_addr(&address)?;
        let process = spawn(listener)?;
        let guard = Killed(Some(process));
        let notifiers = self.wiring.renew()?;
        let frontend = connect(stream, self.memory, &self.rings, &notifiers, after_crash)?;
        self.daemon = guard.keep().map(|process| Daemon {
            process,
            frontend,
            notifiers,
        });
        Ok(())
    }

    /// Kills the daemon, whatever it does, and starts another one.
    pub(crate) fn restart(&mut self) -> Result<(), Box<dyn Error>> {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.process.kill()?;
            daemon.process.wait()?;
            self.ring_errors += daemon.ring_errors()?;
        }
        self.start()
    }

    /// Stops both queues, and waits until the daemon has ended by itself.
    pub(crate) fn stop(&mut self) -> Result<(), Box<dyn Error>> {
        let Some(daemon) = self.daemon.take() else {
            return Ok(());
        };
        self.ring_errors += daemon.ring_errors()?;
        for (queue, ring) in self.rings.iter().enumerate() {
            let base = daemon.frontend.get_vring_base(queue)?;
            let used = ring.used_index(self.memory)?;
            if base != u32::from(used) {
                let stopped = format!("queue {queue} stopped at {base}, with {used} buffers used");
                return Err(stopped.into());
            }
        }
        let Daemon {
            mut process,
            frontend,
            ..
        } = daemon;
        drop(frontend);
        let status = process.wait()?;
        match status.success() {
            true => Ok(()),
            false => Err(format!("the daemon ended with {status}").into()),
        }
    }
}

impl Drop for Device<'_> {
    fn drop(&mut self) {
        // Only after an error there is one still.
        if let Some(daemon) = self.daemon.take() {
            drop(Killed(Some(daemon.process)));
        }
    }
}

impl Daemon {
    fn ring_errors(&self) -> Result<u64, notify_core::Error> {
        let consumed = self.notifiers.iter().map(|queue| queue.err.consume());
        consumed.map(|count| Ok(count?.map_or(0, u64::from))).sum()
    }
}

/// A process that does not outlive this.
struct Killed(Option<Child>);

impl Killed {
    fn keep(mut self) -> Option<Child> {
        self.0.take()
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        if let Some(mut process) = self.0.take() {
            // One that cannot be killed has ended.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// This program once more, as a daemon whose standard input is the listening socket.
fn spawn(listener: UnixListener) -> Result<Child, Box<dyn Error>> {
    let program = env::current_exe()?;
    let mut command = Command::new(program);
    command
        .arg(format!("--{DAEMON}"))
        .stdin(OwnedFd::from(listener))
        .stdout(Stdio::null());
    Ok(command.spawn()?)
}

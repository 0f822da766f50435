// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Device`]: the daemon of the moment, and its replacement by another.

use std::env;
use std::error::Error;
use std::io;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::{self, Child, Command, ExitStatus, Stdio};

use notify_core::vring::Vrings;
use vhost::vhost_user::Frontend;
use vhost_examples::guest::QUEUES;
use vhost_examples::ring::Ring;
use vm_memory::GuestMemoryMmap;

use crate::DAEMON;
use crate::connection::connect;
use crate::wiring::Wiring;

/// A device in another process.
pub(crate) struct Device<'a> {
    memory: &'a GuestMemoryMmap,
    rings: [Ring; QUEUES],
    wiring: &'a Wiring,
    /// Dropped before the connection, which would else wait for a daemon that may be stuck.
    daemon: Option<Killed>,
    vrings: Option<Vrings<Frontend>>,
    started: u32,
    ring_errors: u64,
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
            vrings: None,
            daemon: None,
            started: 0,
            ring_errors: 0,
        }
    }

    /// How many rings daemons have found in disorder.
    pub(crate) fn ring_errors(&self) -> u64 {
        self.ring_errors
    }

    /// Starts a daemon, which dies by itself at the moment of this number unless it is 0, and
    /// connects it with new eventfds.
    pub(crate) fn start(&mut self, last_moment: u32) -> Result<(), Box<dyn Error>> {
        let name = format!("vhost_user-{}-{}", process::id(), self.started);
        self.started += 1;
        let address = SocketAddr::from_abstract_name(name)?;
        let listener = UnixListener::bind_addr(&address)?;
        // It waits in the backlog until the daemon takes it, and breaks if the daemon dies before.
        let stream = UnixStream::connect_addr(&address)?;
        self.daemon = Some(Killed(spawn(listener, last_moment)?));
        let pairs = self.wiring.renew()?;
        let vrings = match &mut self.vrings {
            Some(vrings) => {
                for (queue, pair) in pairs.into_iter().enumerate() {
                    vrings.set_pair(queue, pair)?;
                }
                vrings
            }
            none => none.insert(Vrings::new(pairs)?),
        };
        let frontend = connect(stream, self.memory, &self.rings)?;
        match vrings.start(frontend) {
            // It was to die early, and has. The next one follows.
            Err(_) if last_moment != 0 => self.daemon = None,
            started => started?,
        }
        Ok(())
    }

    /// Whether the daemon has died by itself.
    pub(crate) fn has_died(&mut self) -> io::Result<bool> {
        match &mut self.daemon {
            Some(daemon) => Ok(daemon.0.try_wait()?.is_some()),
            None => Ok(true),
        }
    }

    /// Kills the daemon, whatever it does, and starts another one.
    pub(crate) fn restart(&mut self, last_moment: u32) -> Result<(), Box<dyn Error>> {
        // It is killed, and has ended.
        drop(self.daemon.take());
        if let Some(vrings) = &mut self.vrings {
            self.ring_errors += vrings.failed()?.len() as u64;
            drop(vrings.abandon());
        }
        self.start(last_moment)
    }

    /// Stops both queues, and waits until the daemon has ended by itself.
    pub(crate) fn stop(&mut self) -> Result<(), Box<dyn Error>> {
        let Some(mut vrings) = self.vrings.take() else {
            return Ok(());
        };
        self.ring_errors += vrings.failed()?.len() as u64;
        let stopped = vrings.stop()?;
        for (ring, stopped) in self.rings.iter().zip(&stopped.rings) {
            let (base, used) = (stopped.base, ring.used_index(self.memory)?);
            if base != u32::from(used) {
                return Err(format!("a queue stopped at {base}, with {used} buffers used").into());
            }
        }
        // The daemon ends when its connection does.
        drop(stopped);
        let status = self.daemon.take().map(Killed::wait).transpose()?;
        match status {
            Some(status) if !status.success() => {
                Err(format!("the daemon ended with {status}").into())
            }
            _ => Ok(()),
        }
    }
}

/// A process that does not outlive this.
struct Killed(Child);

impl Killed {
    fn wait(mut self) -> io::Result<ExitStatus> {
        self.0.wait()
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        // One that cannot be killed has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// This program once more, as a daemon whose standard input is the listening socket.
fn spawn(listener: UnixListener, last_moment: u32) -> Result<Child, Box<dyn Error>> {
    let program = env::current_exe()?;
    let mut command = Command::new(program);
    command
        .arg(format!("--{DAEMON}={last_moment}"))
        .stdin(OwnedFd::from(listener))
        .stdout(Stdio::null());
    Ok(command.spawn()?)
}

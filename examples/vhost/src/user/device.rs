// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Device`]: the current daemon, and its replacement.

use std::error::Error;
use std::fmt;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process;

use crate::guest::QUEUES;
use crate::session::Session;
use crate::vmm;
use notify_core::NotifierPair;
use vhost::vhost_user::Frontend;

use super::connection::{connect, describe};
use super::leash::Leash;
use crate::launch::daemon;
use crate::rings::Rings;

/// A device in another process.
pub struct Device {
    daemon: Leash,
    /// The moment at which the daemon kills itself; 0 if it does not.
    last_moment: u32,
    /// The daemon's connection, while the rings are stopped.
    idle: Option<Frontend>,
    rings: Rings<Frontend>,
    /// Whether the guest has started the device.
    runs: bool,
    launched: u32,
}

impl Device {
    /// A device without a daemon. Its first daemon kills itself at the moment of this number,
    /// unless it is 0.
    #[must_use]
    pub fn new(last_moment: u32) -> Self {
        Self {
            daemon: Leash::default(),
            last_moment,
            idle: None,
            rings: Rings::new(),
            runs: false,
            launched: 0,
        }
    }

    /// The leash of the current daemon and of its replacements.
    #[must_use]
    pub fn leash(&self) -> Leash {
        self.daemon.clone()
    }

    /// Kills the daemon, and starts another one with new eventfds. The new one kills itself at the
    /// moment of this number, unless it is 0.
    ///
    /// # Errors
    ///
    /// Those of the VM, and of the new daemon unless it has killed itself.
    pub fn restart(&mut self, session: &Session, last_moment: u32) -> Result<(), Box<dyn Error>> {
        self.lose();
        self.last_moment = last_moment;
        session.wiring().renew()?;
        self.launch()?;
        match self.runs {
            true => self.start_rings(session, session.wiring().pairs()?),
            false => Ok(()),
        }
    }

    /// Waits until the daemon has ended by itself. The rings must be stopped.
    ///
    /// # Errors
    ///
    /// If it has failed.
    pub fn end(&mut self) -> Result<(), Box<dyn Error>> {
        // The daemon ends when its connection does.
        drop(self.idle.take());
        let status = self.daemon.take().map(|daemon| daemon.wait()).transpose()?;
        match status {
            Some(status) if !status.success() => {
                Err(format!("the daemon ended with {status}").into())
            }
            _ => Ok(()),
        }
    }

    /// Starts a daemon, and connects it.
    fn launch(&mut self) -> Result<(), Box<dyn Error>> {
        let name = format!("vhost_user-{}-{}", process::id(), self.launched);
        self.launched += 1;
        let address = SocketAddr::from_abstract_name(name)?;
        let listener = UnixListener::bind_addr(&address)?;
        // The connection waits in the backlog until the daemon takes it, and breaks if the daemon
        // dies before.
        let stream = UnixStream::connect_addr(&address)?;
        self.daemon.put(daemon(listener, self.last_moment)?);
        self.idle = Some(connect(stream, QUEUES)?);
        Ok(())
    }

    /// Starts the rings on the connection.
    fn start_rings(
        &mut self,
        session: &Session,
        pairs: Vec<NotifierPair>,
    ) -> Result<(), Box<dyn Error>> {
        let Some(frontend) = self.idle.take() else {
            return Ok(());
        };
        let started = self.try_start(frontend, session, pairs);
        self.forgive(started)
    }

    fn try_start(
        &mut self,
        frontend: Frontend,
        session: &Session,
        pairs: Vec<NotifierPair>,
    ) -> Result<(), Box<dyn Error>> {
        describe(&frontend, session.memory(), session.guest().rings())?;
        self.rings.start(frontend, pairs)
    }

    /// Ignores an error if the daemon was to kill itself, and has: the next one follows.
    fn forgive(&mut self, result: Result<(), Box<dyn Error>>) -> Result<(), Box<dyn Error>> {
        match result {
            Err(_) if self.last_moment != 0 && self.daemon.has_killed_itself()? => {
                self.lose();
                Ok(())
            }
            result => result,
        }
    }

    /// Kills the daemon, if it is not dead, and takes the rings from it.
    fn lose(&mut self) {
        // Dropping the daemon kills it and waits for its end.
        drop(self.daemon.take());
        drop(self.idle.take());
        self.rings.abandon();
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // Otherwise the rings would ask a daemon that may be stuck to stop.
        self.lose();
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut output = f.debug_struct("Device");
        output
            .field("daemon", &self.daemon)
            .field("launched", &self.launched)
            .finish_non_exhaustive()
    }
}

impl vmm::Device for Device {
    fn start(&mut self, session: &Session, pairs: Vec<NotifierPair>) -> Result<(), Box<dyn Error>> {
        self.runs = true;
        if self.launched == 0 {
            self.launch()?;
        }
        // There is no connection if the daemon has died. Its replacement starts the rings.
        self.start_rings(session, pairs)
    }

    fn stop(&mut self, session: &Session) -> Result<(), Box<dyn Error>> {
        self.runs = false;
        let stopped = self.rings.stop(session);
        let stopped = stopped.map(|frontend| self.idle = frontend.or(self.idle.take()));
        self.forgive(stopped)
    }

    fn set_pair(&mut self, queue: usize, pair: NotifierPair) -> Result<(), Box<dyn Error>> {
        let set = self.rings.set_pair(queue, pair);
        self.forgive(set)
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Leash`]: lets a thread kill the daemon without waiting for it.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::launch::Killed;

/// The longest time from the daemon's broken connection to its death.
const DYING: Duration = Duration::from_secs(2);

/// The current daemon. Clones share it.
///
/// A request to a daemon that does not reply waits for ever: the `vhost` crate tries again after a
/// time-out of the socket. When the daemon is killed, the request fails.
#[derive(Debug, Clone, Default)]
pub struct Leash(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    daemon: Option<Killed>,
    /// Whether there ever was a daemon.
    had: bool,
}

impl Leash {
    /// Kills the daemon. Threads that wait for it go on.
    pub fn kill(&self) {
        if let Some(daemon) = &mut self.lock().daemon {
            daemon.kill();
        }
    }

    /// Whether the daemon has ended, and was not replaced yet.
    ///
    /// # Errors
    ///
    /// None in practice.
    pub fn has_died(&self) -> io::Result<bool> {
        let mut state = self.lock();
        match &mut state.daemon {
            Some(daemon) => Ok(daemon.ended()?.is_some()),
            None => Ok(state.had),
        }
    }

    /// Runs `act`, which may wait for the daemon, and kills the daemon if that takes too long.
    pub fn within<R>(&self, patience: Duration, act: impl FnOnce() -> R) -> R {
        thread::scope(|scope| {
            let (done, is_done) = channel::<()>();
            scope.spawn(move || {
                if is_done.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                    self.kill();
                }
            });
            let result = act();
            drop(done);
            result
        })
    }

    pub(super) fn put(&self, daemon: Killed) {
        *self.lock() = State {
            daemon: Some(daemon),
            had: true,
        };
    }

    pub(super) fn take(&self) -> Option<Killed> {
        self.lock().daemon.take()
    }

    /// Whether the daemon has killed itself, or does so within a short time.
    pub(super) fn has_killed_itself(&self) -> io::Result<bool> {
        let end = Instant::now() + DYING;
        loop {
            if let Some(daemon) = &mut self.lock().daemon
                && let Some(status) = daemon.ended()?
            {
                return Ok(status.signal() == Some(Signal::SIGKILL as i32));
            }
            if Instant::now() > end {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The two operations that poll a notifier. No other operation of these crates does.

use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::EventNotifier;
use crate::Error;

impl EventNotifier {
    /// Returns whether a signal is pending, and leaves it pending.
    ///
    /// Never blocks. Calls `ppoll`, which system call filters often do not allow.
    ///
    /// # Errors
    ///
    /// [`Error::Poll`].
    pub fn is_signalled(&self) -> Result<bool, Error> {
        self.poll_until(Some(Instant::now()))
    }

    /// Blocks until there is a signal, and takes it; at most for `timeout` (`None`: no limit).
    ///
    /// Returns `None` if the time ran out. If several threads wait on one counter, each signal is
    /// taken by one of them. Calls `ppoll`.
    ///
    /// # Errors
    ///
    /// [`Error::Poll`], and those of [`consume`](Self::consume).
    pub fn wait(&self, timeout: Option<Duration>) -> Result<Option<NonZeroU64>, Error> {
        // A deadline beyond what the clock can express is as good as none.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if let Some(count) = self.consume()? {
                return Ok(Some(count));
            }
            if !self.poll_until(deadline)? {
                return Ok(None);
            }
        }
    }

    /// Whether the counter became readable before the deadline.
    fn poll_until(&self, deadline: Option<Instant>) -> Result<bool, Error> {
        loop {
            let remaining = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
            match ppoll(&mut fds, remaining.map(TimeSpec::from_duration), None) {
                // If the kernel has added the last one, which a write cannot, POLLERR alone is set.
                Ok(_) => {
                    let [fd] = fds;
                    return Ok(fd
                        .revents()
                        .is_some_and(|events| events.contains(PollFlags::POLLIN)));
                }
                Err(nix::Error::EINTR) => {}
                Err(errno) => {
                    return Err(Error::Poll {
                        fd: self.as_raw_fd(),
                        cause: io::Error::from(errno).into(),
                    });
                }
            }
        }
    }
}

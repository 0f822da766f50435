// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A notifier that is full, and would take no signal ever again.
//!
//! When an irqfd is bound KVM delivers what its notifier has and leaves the count there; the next signal
//! takes it along. A counter that somebody has filled takes no next signal, so it has to be emptied. Any
//! other is left alone: where signals are not taken in the very moment in which they come, as on a
//! simulated machine, nothing is taken that is still to be delivered.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Whether it takes no more; if that cannot be found out, it does.
pub(crate) fn is_full(notifier: BorrowedFd<'_>) -> bool {
    loop {
        let mut fds = [PollFd::new(notifier, PollFlags::POLLOUT)];
        match poll(&mut fds, PollTimeout::ZERO) {
            // Even a call that does not wait is interrupted, if nothing is ready.
            Err(Errno::EINTR) => {}
            ready => return ready == Ok(0),
        }
    }
}

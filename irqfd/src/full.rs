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
    let mut fds = [PollFd::new(notifier, PollFlags::POLLOUT)];
    // Even a call that does not wait is interrupted, if nothing is ready.
    let polled = loop {
        match poll(&mut fds, PollTimeout::ZERO) {
            Err(Errno::EINTR) => {}
            polled => break polled,
        }
    };
    // If the kernel has added the last one, which a write cannot, the answer is POLLERR and not zero.
    let [fd] = fds;
    let events = fd.revents().unwrap_or(PollFlags::empty());
    polled.is_ok() && !events.contains(PollFlags::POLLOUT)
}

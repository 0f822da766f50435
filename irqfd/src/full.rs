// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Notifiers that are full, and would take no signal ever again.
//!
//! When an irqfd is bound KVM delivers what its notifier has and leaves the count there; the next signal
//! takes it along. A counter that somebody has filled takes no next signal, so it has to be emptied. Any
//! other is left alone. That saves a system call for each; and where signals are not taken in the very
//! moment in which they come, as on a simulated machine, nothing is taken that is still to be delivered.

use std::os::fd::BorrowedFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The positions of those that are full, by one system call; of none if it fails.
pub(crate) fn full<'a>(notifiers: impl Iterator<Item = BorrowedFd<'a>>) -> Vec<usize> {
    let mut fds: Vec<_> = notifiers
        .map(|fd| PollFd::new(fd, PollFlags::POLLOUT))
        .collect();
    if fds.is_empty() || poll(&mut fds, PollTimeout::ZERO).is_err() {
        return Vec::new();
    }
    let full = |(index, fd): (usize, &PollFd<'_>)| {
        let takes_more = fd
            .revents()
            .is_some_and(|events| events.contains(PollFlags::POLLOUT));
        (!takes_more).then_some(index)
    };
    fds.iter().enumerate().filter_map(full).collect()
}

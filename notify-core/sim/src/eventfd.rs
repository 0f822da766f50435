// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Eventfds that a VM holds: named by number, kept as duplicates, compared by identity.

use std::cmp::Ordering;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::OnceLock;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd;

use super::{errno, fd};

/// An eventfd that is held through a duplicate of its own, whose flags no other code reads or sets.
#[derive(Debug, Clone)]
pub(super) struct Held(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    eventfd: OwnedFd,
    /// The kernel's number for it, asked for only where it will not compare two files.
    id: Option<u64>,
}

/// Whether the kernel compares files for this process: system-call filters often forbid it.
fn compares(fd: BorrowedFd<'_>) -> bool {
    static COMPARES: OnceLock<bool> = OnceLock::new();
    *COMPARES.get_or_init(|| fd::order(fd, fd).is_some())
}

impl Held {
    /// Looks a number up as the kernel does: EBADF if it is closed, EINVAL if it is no eventfd.
    ///
    /// EMFILE and ENFILE, which no kernel has here, are those of the duplicate. ENOTSUP: neither
    /// kcmp(2) nor `/proc` can be used, so two eventfds cannot be compared.
    pub(super) fn get(number: RawFd) -> io::Result<Self> {
        let owned = fd::duplicate_number(number)?;
        if !fd::is_eventfd(owned.as_fd())? {
            return Err(errno(libc::EINVAL));
        }
        let id = if compares(owned.as_fd()) {
            None
        } else {
            let id = fd::id(owned.as_fd());
            Some(id.ok_or_else(|| errno(libc::ENOTSUP))?)
        };
        let eventfd = owned;
        Ok(Self(Arc::new(Inner { eventfd, id })))
    }

    /// An arbitrary order in which only duplicates of one eventfd are equal.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        match (self.0.id, other.0.id) {
            (Some(one), Some(other)) => one.cmp(&other),
            // Once the kernel has compared two files it goes on doing so.
            _ => fd::order(self.as_fd(), other.as_fd()).unwrap_or(Ordering::Less),
        }
    }

    /// Takes what a read takes: 0 if there is nothing.
    pub(super) fn take(&self) -> u64 {
        fd::take(self.as_fd())
    }

    /// What is in the counter; `None` if the kernel does not show it.
    pub(super) fn count(&self) -> Option<u64> {
        fd::count(self.as_fd())
    }

    /// Whether a read takes one at a time, as far as is known.
    pub(super) fn is_semaphore(&self) -> bool {
        fd::is_semaphore(self.as_fd())
    }

    pub(super) fn is_signalled(&self) -> bool {
        self.ready(PollFlags::POLLIN)
    }

    /// Adds one, unless the counter is full. It never blocks for long: another holder of the
    /// eventfd may have made it blocking, so it is asked first.
    pub(super) fn signal(&self) {
        if self.ready(PollFlags::POLLOUT) {
            // A write can fail only where the counter is full, which is success.
            let _ = unistd::write(self.as_fd(), &1_u64.to_ne_bytes());
        }
    }

    fn ready(&self, events: PollFlags) -> bool {
        let mut fds = [PollFd::new(self.as_fd(), events)];
        matches!(poll(&mut fds, PollTimeout::ZERO), Ok(ready) if ready > 0)
    }
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.eventfd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use notify_core::EventNotifier;

    /// What is done where the kernel will not compare files.
    #[test]
    fn ids_tell_eventfds_apart_as_comparing_does() {
        let (one, other) = (EventNotifier::new().unwrap(), EventNotifier::new().unwrap());
        let duplicate = one.try_clone().unwrap();
        let held = |notifier: EventNotifier| {
            let id = fd::id(notifier.as_fd());
            let eventfd = OwnedFd::try_from(notifier).unwrap();
            Held(Arc::new(Inner { eventfd, id }))
        };
        let all = [one, other, duplicate].map(held);
        let [one, other, duplicate] = &all;
        assert!(one.order(duplicate).is_eq());
        assert!(one.order(other).is_ne());
        assert_eq!(one.order(other), other.order(one).reverse());
        let compare = |a: &Held, b: &Held| fd::order(a.as_fd(), b.as_fd());
        if compares(one.as_fd()) {
            assert_eq!(compare(one, duplicate), Some(Ordering::Equal));
            assert_ne!(compare(one, other), Some(Ordering::Equal));
        }
        assert_eq!(
            compare(one, other),
            compare(other, one).map(Ordering::reverse)
        );
    }
}

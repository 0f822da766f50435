// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Eventfds and other files, with the errno of every call.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// A number that is no descriptor, and not likely to be one soon.
pub(crate) const CLOSED: i32 = 9999;
/// The highest count of an eventfd that a write can reach.
pub(crate) const FULL: u64 = u64::MAX - 1;

/// An eventfd that does not block.
pub(crate) struct Event(File);

impl Event {
    pub(crate) fn new() -> Self {
        Self::with(0, EfdFlags::empty())
    }

    /// An eventfd with this count.
    pub(crate) fn at(count: u64) -> Self {
        let event = Self::new();
        assert_eq!(event.write(count), Ok(8));
        event
    }

    pub(crate) fn with(count: u32, flags: EfdFlags) -> Self {
        let flags = flags | EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        let eventfd = EventFd::from_value_and_flags(count, flags).unwrap();
        Self(File::from(OwnedFd::from(eventfd)))
    }

    /// Another file descriptor of the same eventfd.
    pub(crate) fn dup(&self) -> Self {
        Self(self.0.try_clone().unwrap())
    }

    pub(crate) fn fd(&self) -> i32 {
        self.0.as_raw_fd()
    }

    pub(crate) fn write(&self, count: u64) -> Result<usize, Errno> {
        self.write_bytes(&count.to_ne_bytes())
    }

    pub(crate) fn write_bytes(&self, bytes: &[u8]) -> Result<usize, Errno> {
        (&self.0).write(bytes).map_err(errno)
    }

    pub(crate) fn read(&self) -> Result<u64, Errno> {
        let mut count = [0; 8];
        (&self.0).read(&mut count).map_err(errno)?;
        Ok(u64::from_ne_bytes(count))
    }

    pub(crate) fn read_bytes(&self, bytes: &mut [u8]) -> Result<usize, Errno> {
        (&self.0).read(bytes).map_err(errno)
    }

    pub(crate) fn poll(&self) -> PollFlags {
        let mut fds = [PollFd::new(
            self.as_fd(),
            PollFlags::POLLIN | PollFlags::POLLOUT,
        )];
        poll(&mut fds, PollTimeout::ZERO).unwrap();
        fds[0].revents().unwrap()
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A file that is no eventfd.
pub(crate) fn pipe() -> OwnedFd {
    io::pipe().unwrap().0.into()
}

pub(crate) fn errno(error: io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().expect("an error of the system"))
}

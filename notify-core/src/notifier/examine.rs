// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Checks that a file descriptor is an eventfd, and of which kind.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::stat::{SFlag, fstat};

use super::EventFdMode;
use super::fd::{read_nowait, uninterrupted, write_nothing};
use crate::Error;

/// Checks that `fd` is an eventfd, makes it close-on-exec and non-blocking, and finds its mode.
/// If that fails, the open file is as it was.
pub(super) fn examine(fd: BorrowedFd<'_>) -> Result<Option<EventFdMode>, Error> {
    let examine = |error: io::Error| Error::Examine {
        fd: fd.as_raw_fd(),
        cause: error.into(),
    };
    if !is_eventfd(fd).map_err(examine)? {
        return Err(Error::NotEventFd { fd: fd.as_raw_fd() });
    }
    let set = |argument| fcntl(fd, argument).map_err(|errno| examine(errno.into()));
    let flags = OFlag::from_bits_retain(set(FcntlArg::F_GETFL)?);
    set(FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // Last, because other holders of the open file see it.
    set(FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(mode(fd))
}

/// Whether `fd` is an eventfd, found out without `/proc` and without an effect.
///
/// No system call reports it. Three requests without effect do so together:
///
/// 1. The file has no type: it lives on the kernel's anonymous inode. This leaves out files, pipes,
///    sockets and devices, on which the next question could consume something.
/// 2. A non-blocking read of four bytes gives EINVAL: the file can be read without blocking, and
///    never in so small a piece. That leaves eventfd, and since Linux 6.10 timerfd and signalfd,
///    and whatever cannot be read at all.
/// 3. A gathering write of nothing succeeds: the file can be written. Of those left, only eventfd
///    can.
pub(crate) fn is_eventfd(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let stat = uninterrupted(|| Ok(fstat(fd)?))?;
    let has_type = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    if !has_type.is_empty() {
        return Ok(false);
    }
    match read_nowait(fd, &mut [0; 4]) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
        Err(error) if is_of_filter(&error) => return Err(error),
        _ => return Ok(false),
    }
    match write_nothing(fd) {
        Ok(()) => Ok(true),
        Err(error) if is_of_filter(&error) => Err(error),
        Err(_) => Ok(false),
    }
}

/// Whether the error may be that of a system call filter, which knows nothing of the file. No file
/// without a type returns these for a read or a write.
fn is_of_filter(error: &io::Error) -> bool {
    let filters = [libc::EPERM, libc::EACCES, libc::ENOSYS];
    error
        .raw_os_error()
        .is_some_and(|errno| filters.contains(&errno))
}

/// The mode of an eventfd that was made elsewhere; only `/proc` shows it (Linux 6.5 and later).
/// Returns nothing if the next look may find it: no memory or descriptor is free at the moment.
pub(crate) fn mode(fd: BorrowedFd<'_>) -> Option<EventFdMode> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()));
    let info = match info {
        Err(error) if is_temporary(&error) => return None,
        info => info.unwrap_or_default(),
    };
    let name = "eventfd-semaphore:";
    let value = info.lines().find_map(|line| line.strip_prefix(name));
    Some(match value.map(str::trim) {
        Some("0") => EventFdMode::Counter,
        Some("1") => EventFdMode::Semaphore,
        _ => EventFdMode::Unknown,
    })
}

fn is_temporary(error: &io::Error) -> bool {
    let shortages = [libc::EMFILE, libc::ENFILE, libc::ENOMEM];
    error
        .raw_os_error()
        .is_some_and(|errno| shortages.contains(&errno))
}

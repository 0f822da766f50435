// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Questions about a file descriptor, asked as `notify-core` does. Here the flags of the open file
//! stay as they are, since KVM does not change them.
//!
//! `nix` has no preadv2(2) with flags and no kcmp(2), and cannot duplicate a bare number. All that
//! may hold `unsafe` code in this crate.
#![allow(unsafe_code)]

use std::cmp::Ordering;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::stat::{SFlag, fstat};
use nix::sys::uio::writev;

/// A close-on-exec duplicate of what a number stands for; EBADF if for nothing.
pub(super) fn duplicate_number(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes integers and touches no memory of ours; a number that is not
    // open is refused.
    let fd = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened `fd` for us; no other code knows the number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Compares two open files in an arbitrary order of the kernel (kcmp); equal means the same file.
/// `None` if the kernel does not compare them.
pub(super) fn order(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> Option<Ordering> {
    /// From `include/uapi/linux/kcmp.h`.
    const KCMP_FILE: libc::c_int = 0;
    let pid = std::process::id();
    let (one, other) = (one.as_raw_fd(), other.as_raw_fd());
    // SAFETY: kcmp(2) takes five integers and touches no memory of ours.
    match unsafe { libc::syscall(libc::SYS_kcmp, pid, pid, KCMP_FILE, one, other) } {
        0 => Some(Ordering::Equal),
        1 => Some(Ordering::Less),
        2 => Some(Ordering::Greater),
        _ => None,
    }
}

/// Reads without blocking, even where `O_NONBLOCK` was cleared, by preadv2(2) at the file's own
/// position (-1).
fn read_nowait(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let iov = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // By number, because not every libc that Rust links with has the function. The offset is passed
    // in two halves.
    let (fd, here): (_, libc::c_long) = (fd.as_raw_fd(), -1);
    let nowait = libc::RWF_NOWAIT;
    // SAFETY: the one element of the array is `iov`, which describes `buffer`; that is borrowed
    // exclusively and outlives the call.
    let read = unsafe {
        libc::syscall(
            libc::SYS_preadv2,
            fd,
            &raw const iov,
            1_usize,
            here,
            here,
            nowait,
        )
    };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

/// Takes what a read of an eventfd takes: 0 if there is nothing.
pub(super) fn take(eventfd: BorrowedFd<'_>) -> u64 {
    let mut count = [0; 8];
    match read_nowait(eventfd, &mut count) {
        Ok(8) => u64::from_ne_bytes(count),
        _ => 0,
    }
}

/// Whether `fd` is an eventfd, found out without `/proc` and without an effect. It is a file
/// without a type, of which fewer than eight bytes cannot be read, and to which an empty write
/// succeeds.
pub(super) fn is_eventfd(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let has_type = SFlag::from_bits_truncate(fstat(fd)?.st_mode) & SFlag::S_IFMT;
    let refused = || {
        let read = read_nowait(fd, &mut [0; 4]);
        read.is_err_and(|error| error.raw_os_error() == Some(libc::EINVAL))
    };
    Ok(has_type.is_empty() && refused() && writev(fd, &[]).is_ok())
}

/// A field of what `/proc` shows of an eventfd.
fn field(fd: BorrowedFd<'_>, name: &str) -> Option<String> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).ok()?;
    let value = info.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.trim().to_owned())
}

/// The kernel's own number of an eventfd, the same for all its duplicates (Linux 5.2 and later,
/// with `/proc`).
pub(super) fn id(eventfd: BorrowedFd<'_>) -> Option<u64> {
    field(eventfd, "eventfd-id:")?.parse().ok()
}

/// The count of an eventfd, which stays as it is (with `/proc`).
pub(super) fn count(eventfd: BorrowedFd<'_>) -> Option<u64> {
    u64::from_str_radix(&field(eventfd, "eventfd-count:")?, 16).ok()
}

/// Whether a read takes one at a time, as far as `/proc` shows (Linux 6.5 and later).
pub(super) fn is_semaphore(eventfd: BorrowedFd<'_>) -> bool {
    field(eventfd, "eventfd-semaphore:").as_deref() == Some("1")
}

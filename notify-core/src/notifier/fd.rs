// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The system calls on an eventfd, and the conversions between types that own one.
//!
//! With `vm/kvm/`, all that may hold `unsafe` code in the libraries.
#![allow(unsafe_code)]

use std::cmp::Ordering;
use std::io;
use std::num::NonZeroU64;
#[cfg(feature = "sim")]
use std::os::fd::RawFd;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::stat::{SFlag, fstat};
use vmm_sys_util::event;
use vmm_sys_util::eventfd::EventFd;

use super::EventFdMode;
use crate::Error;

/// A new eventfd, non-blocking and close-on-exec.
pub(super) fn create(initial: u32, semaphore: bool) -> io::Result<EventFd> {
    let mode = if semaphore { libc::EFD_SEMAPHORE } else { 0 };
    // SAFETY: eventfd(2) takes two integers and touches no memory of ours.
    let fd = unsafe { libc::eventfd(initial, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK | mode) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened `fd` for us; nobody else knows the number.
    Ok(unsafe { EventFd::from_raw_fd(fd) })
}

/// Adds one to the counter. Answers whether there was room for it.
#[inline]
pub(crate) fn add_one(eventfd: &EventFd) -> io::Result<bool> {
    let one = 1u64;
    uninterrupted(|| {
        // SAFETY: the eight bytes are those of `one`, which outlives the call; write(2) only reads
        // them.
        let written = unsafe { libc::write(eventfd.as_raw_fd(), (&raw const one).cast(), 8) };
        if written == 8 {
            return Ok(true);
        }
        match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            error => Err(error),
        }
    })
}

/// Takes the counter. `RWF_NOWAIT` keeps the call from blocking even where `O_NONBLOCK` was cleared.
#[inline]
pub(crate) fn take(eventfd: &EventFd) -> io::Result<Option<NonZeroU64>> {
    let mut count = [0; 8];
    match read_nowait(borrow(eventfd), &mut count) {
        Ok(8) => Ok(NonZeroU64::new(u64::from_ne_bytes(count))),
        Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// preadv2(2) at the file's own position (-1), which is the only one that an eventfd has.
#[inline]
fn read_nowait(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let iov = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // By number, because not every libc that Rust links with has the function. The offset is passed
    // in two halves.
    let (fd, here): (_, libc::c_long) = (fd.as_raw_fd(), -1);
    uninterrupted(|| {
        // SAFETY: the one element of the array is `iov`, which describes `buffer`; that is borrowed
        // exclusively and outlives the call.
        let read = unsafe {
            libc::syscall(
                libc::SYS_preadv2,
                fd,
                &raw const iov,
                1usize,
                here,
                here,
                libc::RWF_NOWAIT,
            )
        };
        usize::try_from(read).map_err(|_| io::Error::last_os_error())
    })
}

/// Makes a system call again while the handler of a signal interrupts it. Those that do not wait may be
/// interrupted too: where a supervisor (`SECCOMP_RET_USER_NOTIF`) decides about them.
#[inline]
fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Checks that `fd` is an eventfd, makes it close-on-exec and non-blocking, and finds its mode.
pub(super) fn examine(fd: BorrowedFd<'_>) -> Result<EventFdMode, Error> {
    let examine = |source: io::Error| Error::Examine {
        fd: fd.as_raw_fd(),
        source,
    };
    if !is_eventfd(fd).map_err(examine)? {
        return Err(Error::NotEventFd { fd: fd.as_raw_fd() });
    }
    let set = |argument| fcntl(fd, argument).map_err(|errno| examine(errno.into()));
    let flags = OFlag::from_bits_retain(set(FcntlArg::F_GETFL)?);
    set(FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    set(FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(mode(fd))
}

/// Whether `fd` is an eventfd, found out without `/proc` and without a trace.
///
/// No system call says so, but three answers together do, and none of the questions has an effect:
///
/// 1. The file has no type: it lives on the kernel's anonymous inode. This leaves out files, pipes,
///    sockets and devices, on which the next question could consume something.
/// 2. A non-blocking read of four bytes gives EINVAL: the file can be read without blocking, and
///    never in so small a piece. That leaves eventfd, and since Linux 6.10 timerfd and signalfd, and
///    whatever cannot be read at all.
/// 3. A gathering write of nothing succeeds: the file can be written. Of those, eventfd alone.
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

fn write_nothing(fd: BorrowedFd<'_>) -> io::Result<()> {
    uninterrupted(|| {
        // SAFETY: no iovec is read when the count is zero, so the null pointer is never followed.
        match unsafe { libc::writev(fd.as_raw_fd(), std::ptr::null(), 0) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    })
}

/// Whether a system-call filter may have answered, which knows nothing of the file. No file without a type
/// says so to a read or a write.
fn is_of_filter(error: &io::Error) -> bool {
    let filters = [libc::EPERM, libc::EACCES, libc::ENOSYS];
    error
        .raw_os_error()
        .is_some_and(|errno| filters.contains(&errno))
}

/// The mode of somebody else's eventfd, which only `/proc` can tell (Linux 6.5 and later).
fn mode(fd: BorrowedFd<'_>) -> EventFdMode {
    match field(fd, "eventfd-semaphore:").as_deref() {
        Some("0") => EventFdMode::Counter,
        Some("1") => EventFdMode::Semaphore,
        _ => EventFdMode::Unknown,
    }
}

/// What `/proc` says about an eventfd.
fn field(fd: BorrowedFd<'_>, name: &str) -> Option<String> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).ok()?;
    let value = info.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.trim().to_owned())
}

/// A close-on-exec duplicate.
pub(crate) fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd, Error> {
    fd.try_clone_to_owned().map_err(|source| Error::Duplicate {
        fd: fd.as_raw_fd(),
        source,
    })
}

/// Whether two file descriptors are one open file; `None` where the kernel will not say.
pub(super) fn same_file(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> Option<bool> {
    order(one, other).map(Ordering::is_eq)
}

/// Where two open files stand in an order that the kernel makes up when it boots; equal means one
/// and the same. `None` where the kernel will not say.
pub(crate) fn order(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> Option<Ordering> {
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

/// A close-on-exec duplicate of whatever a number stands for; EBADF if for nothing.
#[cfg(feature = "sim")]
pub(crate) fn duplicate_number(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes integers and touches no memory of ours; a number that is not
    // open is refused.
    let fd = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened `fd` for us; nobody else knows the number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The kernel's own number of an eventfd, the same for all its duplicates (Linux 5.2 and later,
/// with `/proc`).
#[cfg(feature = "sim")]
pub(crate) fn eventfd_id(fd: BorrowedFd<'_>) -> Option<u64> {
    field(fd, "eventfd-id:")?.parse().ok()
}

/// The count of an eventfd, which stays as it is (with `/proc`).
#[cfg(feature = "sim")]
pub(crate) fn count(fd: BorrowedFd<'_>) -> Option<u64> {
    u64::from_str_radix(&field(fd, "eventfd-count:")?, 16).ok()
}

/// Whether an eventfd is known to be a semaphore.
#[cfg(feature = "sim")]
pub(crate) fn is_semaphore(fd: BorrowedFd<'_>) -> bool {
    mode(fd) == EventFdMode::Semaphore
}

pub(crate) fn borrow(eventfd: &EventFd) -> BorrowedFd<'_> {
    // SAFETY: `eventfd` owns the number, keeps it open for the lifetime of the borrow, and it is
    // not -1.
    unsafe { BorrowedFd::borrow_raw(eventfd.as_raw_fd()) }
}

/// Types that own exactly one open file descriptor.
pub(crate) trait Owner: IntoRawFd + FromRawFd {}

impl Owner for OwnedFd {}
impl Owner for EventFd {}
impl Owner for event::EventConsumer {}
impl Owner for event::EventNotifier {}

/// Moves a file descriptor from one type that owns it to another.
pub(crate) fn transfer<To: Owner>(from: impl Owner) -> To {
    // SAFETY: `from` owned the number and has given it up; every `Owner` owns one and no more.
    unsafe { To::from_raw_fd(from.into_raw_fd()) }
}

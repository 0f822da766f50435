// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The system calls on an eventfd, and the conversions between types that own one.
//!
//! `nix` makes the calls that it has. It has no preadv2(2) with flags and no kcmp(2), and can
//! duplicate what is borrowed but not a bare number, so these three stand here.
//!
//! With `vm/kvm/`, all that may hold `unsafe` code in the libraries.
#![allow(unsafe_code)]

#[cfg(feature = "vmm-sys-util")]
use std::cmp::Ordering;
use std::io;
#[cfg(feature = "vmm-sys-util")]
use std::mem::ManuallyDrop;
use std::num::NonZeroU64;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::eventfd::{self, EfdFlags};
use nix::sys::uio::writev;
use nix::unistd;
#[cfg(feature = "vmm-sys-util")]
use vmm_sys_util::{event, eventfd::EventFd};

use crate::Error;

/// What a notifier owns. With `vmm-sys-util` it is an `EventFd`, so that it can be lent as one.
#[cfg(feature = "vmm-sys-util")]
pub(super) type Owned = EventFd;
#[cfg(not(feature = "vmm-sys-util"))]
pub(super) type Owned = OwnedFd;

/// A new eventfd, non-blocking and close-on-exec.
pub(super) fn create(initial: u32, semaphore: bool) -> io::Result<Owned> {
    let mut flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    flags.set(EfdFlags::EFD_SEMAPHORE, semaphore);
    let eventfd = eventfd::EventFd::from_value_and_flags(initial, flags)?;
    Ok(transfer(OwnedFd::from(eventfd)))
}

/// Adds to the counter. Returns whether there was room for it.
#[inline]
pub(crate) fn add(eventfd: BorrowedFd<'_>, count: u64) -> io::Result<bool> {
    loop {
        return match unistd::write(eventfd, &count.to_ne_bytes()) {
            Ok(8) => Ok(true),
            // It is no eventfd, and there is no errno.
            Ok(_) => Err(io::ErrorKind::WriteZero.into()),
            Err(Errno::EAGAIN) => Ok(false),
            Err(Errno::EINTR) => continue,
            Err(errno) => Err(errno.into()),
        };
    }
}

/// Takes the counter. `RWF_NOWAIT` keeps the call from blocking even where `O_NONBLOCK` was
/// cleared.
#[inline]
pub(crate) fn take(eventfd: BorrowedFd<'_>) -> io::Result<Option<NonZeroU64>> {
    let mut count = [0; 8];
    taken(read_nowait(eventfd, &mut count), count)
}

/// Takes the counter of an eventfd whose `O_NONBLOCK` no other code clears, with a plain read(2).
#[inline]
pub(super) fn take_private(eventfd: BorrowedFd<'_>) -> io::Result<Option<NonZeroU64>> {
    let mut count = [0; 8];
    let read = uninterrupted(|| Ok(unistd::read(eventfd, &mut count)?));
    taken(read, count)
}

/// What a read has taken: nothing if it would have blocked. No eventfd gives a zero: a caller that
/// waits for a signal would read other files (`/dev/zero`) for ever.
#[inline]
fn taken(read: io::Result<usize>, count: [u8; 8]) -> io::Result<Option<NonZeroU64>> {
    match read {
        Ok(8) => match NonZeroU64::new(u64::from_ne_bytes(count)) {
            Some(count) => Ok(Some(count)),
            None => Err(io::ErrorKind::InvalidData.into()),
        },
        Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Calls preadv2(2) at the file's own position (-1), which is the only one that an eventfd has.
#[inline]
pub(super) fn read_nowait(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
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

/// Makes a system call again while the handler of a signal interrupts it. Those that do not wait
/// may be interrupted too: where a supervisor (`SECCOMP_RET_USER_NOTIF`) decides about them.
#[inline]
pub(super) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// The flags of the open file, which all its holders share.
pub(super) fn flags(fd: BorrowedFd<'_>) -> io::Result<OFlag> {
    let flags = uninterrupted(|| Ok(fcntl(fd, FcntlArg::F_GETFL)?))?;
    Ok(OFlag::from_bits_retain(flags))
}

/// Makes the open file non-blocking, unless it is.
pub(super) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = flags(fd)?;
    if !flags.contains(OFlag::O_NONBLOCK) {
        uninterrupted(|| Ok(fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?))?;
    }
    Ok(())
}

/// A gathering write of nothing, which has no effect.
pub(super) fn write_nothing(fd: BorrowedFd<'_>) -> io::Result<()> {
    uninterrupted(|| Ok(writev(fd, &[]).map(drop)?))
}

/// A close-on-exec duplicate.
pub(crate) fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd, Error> {
    fd.try_clone_to_owned().map_err(|error| Error::Duplicate {
        fd: fd.as_raw_fd(),
        cause: error.into(),
    })
}

/// Compares two open files in an arbitrary order of the kernel (kcmp); equal means the same file.
///
/// `None` if the kernel does not compare them.
#[cfg(feature = "vmm-sys-util")]
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

/// A close-on-exec duplicate of what a number stands for; EBADF if for nothing.
pub(crate) fn duplicate_number(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes integers and touches no memory of ours; a number that is not
    // open is refused.
    let fd = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened `fd` for us; no other code knows the number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A close-on-exec duplicate, for types that do not implement `AsFd`.
pub(crate) fn duplicate_raw(fd: &impl AsRawFd) -> Result<OwnedFd, Error> {
    let fd = fd.as_raw_fd();
    duplicate_number(fd).map_err(|error| Error::Duplicate {
        fd,
        cause: error.into(),
    })
}

/// For a type that owns a file descriptor and does not implement `AsFd`.
pub(crate) fn borrow(owner: &impl Owner) -> BorrowedFd<'_> {
    // SAFETY: `owner` owns the number, keeps it open for the lifetime of the borrow, and it is
    // not -1.
    unsafe { BorrowedFd::borrow_raw(owner.as_raw_fd()) }
}

/// An `EventFd` of a borrowed number. Not dropped, it never closes the number.
#[cfg(feature = "vmm-sys-util")]
pub(super) fn lend(fd: BorrowedFd<'_>) -> ManuallyDrop<EventFd> {
    // SAFETY: the number is open for as long as `fd` lives, which the only caller keeps beside the
    // result. The result is never dropped, and a shared reference to an `EventFd` cannot close it.
    ManuallyDrop::new(unsafe { EventFd::from_raw_fd(fd.as_raw_fd()) })
}

/// Types that own exactly one open file descriptor.
pub(crate) trait Owner: AsRawFd + IntoRawFd + FromRawFd {}

impl Owner for OwnedFd {}
#[cfg(feature = "vmm-sys-util")]
impl Owner for EventFd {}
#[cfg(feature = "vmm-sys-util")]
impl Owner for event::EventConsumer {}
#[cfg(feature = "vmm-sys-util")]
impl Owner for event::EventNotifier {}

/// Moves a file descriptor from one type that owns it to another.
pub(crate) fn transfer<To: Owner>(from: impl Owner) -> To {
    // SAFETY: `from` owned the number and has given it up; every `Owner` owns one and no more.
    unsafe { To::from_raw_fd(from.into_raw_fd()) }
}

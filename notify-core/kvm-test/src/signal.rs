// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`signal_from_kernel`]: an eventfd that the kernel signals, as vhost does.
#![allow(unsafe_code, reason = "nix has no wrapper that sets the eventfd")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `struct iocb` of `include/uapi/linux/aio_abi.h`, little-endian.
#[repr(C)]
#[derive(Default)]
struct Iocb {
    data: u64,
    key: u32,
    rw_flags: u32,
    opcode: u16,
    priority: i16,
    fd: u32,
    buffer: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    eventfd: u32,
}

/// Adds one to the counter of an eventfd from within the kernel. Unlike a write, this also works on
/// a counter of 2^64 - 2, after which poll(2) reports POLLERR.
///
/// # Errors
///
/// Those of asynchronous I/O (`io_setup`, `io_submit`).
pub fn signal_from_kernel(eventfd: BorrowedFd<'_>) -> io::Result<()> {
    const READ: u16 = 0;
    const SIGNALS_EVENTFD: u32 = 1;

    let number = |fd: i32| u32::try_from(fd).map_err(io::Error::other);
    let zeros = File::open("/dev/zero")?;
    let mut byte = 0_u8;
    let mut request = Iocb {
        opcode: READ,
        fd: number(zeros.as_raw_fd())?,
        buffer: (&raw mut byte).addr() as u64,
        bytes: 1,
        flags: SIGNALS_EVENTFD,
        eventfd: number(eventfd.as_raw_fd())?,
        ..Iocb::default()
    };
    let mut list = [&raw mut request];
    let mut context: libc::c_ulong = 0;
    let failed = |result: libc::c_long| match result {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    // SAFETY: the kernel writes the number of a new context to `context`.
    failed(unsafe { libc::syscall(libc::SYS_io_setup, 1 as libc::c_long, &raw mut context) })?;
    // SAFETY: the list has one element, which outlives the call, and so does `byte`: a read of
    // /dev/zero is complete when the call returns, and otherwise io_destroy(2) below waits for it.
    let submitted = failed(unsafe {
        let (one, list) = (1 as libc::c_long, list.as_mut_ptr());
        libc::syscall(libc::SYS_io_submit, context, one, list)
    });
    // SAFETY: io_destroy(2) takes an integer.
    failed(unsafe { libc::syscall(libc::SYS_io_destroy, context) })?;
    submitted
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`refuse`]: a system call filter, as jails have them.
#![allow(unsafe_code, reason = "nix has no wrapper for seccomp")]

use std::io;

/// Makes a system call of the calling thread fail with `errno`, for as long as the thread lives.
///
/// With `request`, only calls whose second argument is that number fail: one ioctl of all.
///
/// # Errors
///
/// Where the kernel installs no filter.
pub fn refuse(call: libc::c_long, request: Option<u32>, errno: i32) -> io::Result<()> {
    const LOAD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    const ERRNO: u32 = 0x0005_0000;
    /// Where `struct seccomp_data` has the call's number, and the low half of its second argument.
    const NUMBER: u32 = 0;
    const SECOND: u32 = if cfg!(target_endian = "little") {
        24
    } else {
        28
    };

    let statement = |code, jf, k| libc::sock_filter { code, jt: 0, jf, k };
    let call = u32::try_from(call).map_err(io::Error::other)?;
    let mut filter = vec![statement(LOAD, 0, NUMBER)];
    match request {
        Some(request) => filter.extend([
            statement(JUMP_IF_EQUAL, 3, call),
            statement(LOAD, 0, SECOND),
            statement(JUMP_IF_EQUAL, 1, request),
        ]),
        None => filter.push(statement(JUMP_IF_EQUAL, 1, call)),
    }
    filter.extend([
        statement(RETURN, 0, ERRNO | errno.cast_unsigned()),
        statement(RETURN, 0, ALLOW),
    ]);
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(io::Error::other)?,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the kernel copies the program, which outlives the calls, and binds this thread alone.
    let failed = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
            || libc::prctl(libc::PR_SET_SECCOMP, 2, &raw const program) != 0
    };
    if failed {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

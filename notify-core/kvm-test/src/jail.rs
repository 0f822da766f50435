// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! System call filters: [`refuse`], [`allow_only`] and [`jailed`].
#![allow(unsafe_code, reason = "nix has no wrapper for seccomp")]

use std::io;
use std::thread;

const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
pub(crate) const RETURN: u16 = 0x06;
pub(crate) const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
/// The offsets in `struct seccomp_data` of the call's number, and of the low half of its second
/// argument.
const NUMBER: u32 = 0;
const SECOND: u32 = if cfg!(target_endian = "little") {
    24
} else {
    28
};

/// A system call, and its second argument if only one is meant: for instance, one ioctl of all.
pub type SystemCall = (libc::c_long, Option<u32>);

/// Makes a system call of the calling thread fail with `errno`, for as long as the thread lives.
///
/// # Errors
///
/// If the kernel installs no filter.
pub fn refuse(call: libc::c_long, request: Option<u32>, errno: i32) -> io::Result<()> {
    let errno = ERRNO | errno.cast_unsigned();
    let mut filter = arm((call, request), errno)?;
    filter.push(statement(RETURN, 0, ALLOW));
    install(filter)
}

/// Kills the process at any other system call of the calling thread, for as long as the thread
/// lives.
///
/// # Errors
///
/// If the kernel installs no filter.
pub fn allow_only(calls: &[SystemCall]) -> io::Result<()> {
    let mut filter = Vec::new();
    for call in calls {
        filter.extend(arm(*call, ALLOW)?);
    }
    filter.push(statement(RETURN, 0, KILL_PROCESS));
    install(filter)
}

pub(crate) const fn statement(code: u16, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt: 0, jf, k }
}

/// The statements of a filter that return `verdict` for this call.
pub(crate) fn arm((call, request): SystemCall, verdict: u32) -> io::Result<Vec<libc::sock_filter>> {
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
    filter.push(statement(RETURN, 0, verdict));
    Ok(filter)
}

fn install(mut filter: Vec<libc::sock_filter>) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(io::Error::other)?,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the kernel copies the program, which outlives the calls, and binds only this thread.
    let failed = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
            || libc::prctl(libc::PR_SET_SECCOMP, 2, &raw const program) != 0
    };
    if failed {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Memory, locks, and the end of a thread.
pub(crate) const RUNTIME: [SystemCall; 12] = [
    (libc::SYS_brk, None),
    (libc::SYS_exit, None),
    (libc::SYS_futex, None),
    (libc::SYS_gettid, None),
    (libc::SYS_madvise, None),
    (libc::SYS_mmap, None),
    (libc::SYS_mprotect, None),
    (libc::SYS_mremap, None),
    (libc::SYS_munmap, None),
    (libc::SYS_rt_sigprocmask, None),
    (libc::SYS_sched_yield, None),
    (libc::SYS_sigaltstack, None),
];

/// Runs `run` on a new thread on which no system calls are allowed but `calls` and those of the
/// runtime.
///
/// # Panics
///
/// If `run` does, or if the kernel installs no filter.
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
pub fn jailed<T: Send>(calls: &[SystemCall], run: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let jailed = scope.spawn(|| {
            allow_only(&[calls, &RUNTIME].concat()).unwrap();
            run()
        });
        jailed.join().unwrap()
    })
}

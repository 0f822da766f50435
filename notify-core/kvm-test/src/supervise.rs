// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`supervised`]: a thread whose system calls another thread carries out, or lets fail.
#![allow(unsafe_code, reason = "nix has no wrapper for seccomp's notifications")]

use std::io::{self, IoSliceMut};
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::mpsc;
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::getpid;

use crate::SystemCall;
use crate::jail::{ALLOW, RETURN, RUNTIME, arm, statement};

const USER_NOTIF: u32 = 0x7fc0_0000;

nix::ioctl_readwrite!(receive, b'!', 0, libc::seccomp_notif);
nix::ioctl_readwrite!(send, b'!', 1, libc::seccomp_notif_resp);

/// A system call that a thread waits for, see [`supervised`].
#[derive(Debug)]
pub struct Attempt<'a> {
    /// The number of the call.
    pub number: libc::c_long,
    /// Its arguments.
    pub arguments: [u64; 6],
    waits: PhantomData<&'a ()>,
}

impl Attempt<'_> {
    /// Makes the call for the thread that waits, and returns its result or errno.
    ///
    /// The calling thread makes it, in the same process; so this is wrong for calls that concern
    /// the thread itself.
    pub fn carry_out(&self) -> Result<i64, i32> {
        let [a, b, c, d, e, f] = self.arguments;
        // SAFETY: another thread of this process is making this call with these arguments, and
        // waits until it is done. What they point to is valid for the call as it would be there.
        let result = unsafe { libc::syscall(self.number, a, b, c, d, e, f) };
        Errno::result(result).map_err(|errno| errno as i32)
    }

    /// The first words of the struct that an argument points to.
    ///
    /// # Errors
    ///
    /// Where it points to less.
    pub fn words(&self, argument: usize, count: usize) -> io::Result<Vec<u32>> {
        let address = self.arguments.get(argument).copied().unwrap_or(0);
        let mut bytes = vec![0; count * 4];
        let base = usize::try_from(address).map_err(io::Error::other)?;
        let remote = [RemoteIoVec {
            base,
            len: bytes.len(),
        }];
        let read = process_vm_readv(getpid(), &mut [IoSliceMut::new(&mut bytes)], &remote)?;
        if read != count * 4 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let words = bytes
            .chunks_exact(4)
            .filter_map(|word| word.try_into().ok());
        Ok(words.map(u32::from_ne_bytes).collect())
    }
}

/// Runs `run` on a new thread, and `supervise` here for each of its system calls. What that returns
/// is what the thread sees: the result of the call, or an errno.
///
/// Calls of memory, locks and the end of a thread are made without this, and so is F_GETFD, by
/// which Rust's library checks a descriptor that it closes.
///
/// # Errors
///
/// If the kernel installs no filter: it is older than 5.9, or this thread has a supervisor already.
///
/// # Panics
///
/// If `run` does.
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
pub fn supervised<T: Send>(
    run: impl FnOnce() -> T + Send,
    mut supervise: impl FnMut(&Attempt<'_>) -> Result<i64, i32>,
) -> io::Result<T> {
    thread::scope(|scope| {
        let (give, take) = mpsc::channel();
        let thread = scope.spawn(move || match install() {
            Ok(listener) => {
                give.send(Ok(listener)).unwrap();
                Some(run())
            }
            Err(error) => {
                give.send(Err(error)).unwrap();
                None
            }
        });
        let listener = take.recv().unwrap()?;
        while wait(&listener)? {
            answer(&listener, &mut supervise)?;
        }
        drop(listener);
        Ok(thread.join().unwrap().unwrap())
    })
}

/// Blocks until the thread makes a call. Returns `false` once it has ended.
fn wait(listener: &OwnedFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::NONE)?;
    let ready = fds.iter().filter_map(PollFd::revents);
    Ok(ready
        .fold(PollFlags::empty(), |all, one| all | one)
        .contains(PollFlags::POLLIN))
}

fn answer(
    listener: &OwnedFd,
    supervise: &mut impl FnMut(&Attempt<'_>) -> Result<i64, i32>,
) -> io::Result<()> {
    // SAFETY: the struct is integers alone, and the kernel asks for zeros.
    let mut notif: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one struct, borrowed exclusively for the call.
    unsafe { receive(listener.as_raw_fd(), &raw mut notif) }?;
    let result = supervise(&Attempt {
        number: notif.data.nr.into(),
        arguments: notif.data.args,
        waits: PhantomData,
    });
    let mut response = libc::seccomp_notif_resp {
        id: notif.id,
        val: result.unwrap_or(0),
        error: result.err().map_or(0, |errno| -errno),
        flags: 0,
    };
    // SAFETY: the kernel reads one struct that outlives the call.
    unsafe { send(listener.as_raw_fd(), &raw mut response) }?;
    Ok(())
}

/// Installs the filter on the calling thread.
fn install() -> io::Result<OwnedFd> {
    let mut filter = Vec::new();
    for call in RUNTIME.iter().chain(&MORE) {
        filter.extend(arm(*call, ALLOW)?);
    }
    filter.push(statement(RETURN, 0, USER_NOTIF));
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(io::Error::other)?,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the kernel copies the program, which outlives the calls, and binds only this thread.
    let listener = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    let listener = Errno::result(listener)?;
    let listener = i32::try_from(listener).map_err(io::Error::other)?;
    // SAFETY: the kernel has just created this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(listener) })
}

const MORE: [SystemCall; 2] = [
    (libc::SYS_clock_gettime, None),
    (libc::SYS_fcntl, Some(libc::F_GETFD.cast_unsigned())),
];

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Starts the other processes.

use std::env;
use std::error::Error;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use crate::child::{DAEMON, ECHO};

/// A process that is killed on drop.
#[derive(Debug)]
pub(crate) struct Killed(Child);

impl Killed {
    /// Waits until it has ended by itself.
    pub(crate) fn wait(mut self) -> io::Result<ExitStatus> {
        self.0.wait()
    }

    /// Its exit status, if it has ended.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.try_wait()
    }

    /// Kills it, unless it has ended. Threads that wait for it go on.
    pub(crate) fn kill(&mut self) {
        // If this fails, the process has ended.
        let _ = self.0.kill();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        self.kill();
        let _ = self.0.wait();
    }
}

/// This program again, with another argument. It gets its own process group, as Ctrl-C at a
/// terminal is for the VMM, which ends the others.
fn command(argument: String) -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.arg(argument).process_group(0);
    Ok(command)
}

/// A daemon, see [`run`](crate::user::daemon::run).
pub(crate) fn daemon(listener: UnixListener, last_moment: u32) -> Result<Killed, Box<dyn Error>> {
    let mut command = command(format!("{DAEMON}{last_moment}"))?;
    command.stdin(OwnedFd::from(listener)).stdout(Stdio::null());
    Ok(Killed(command.spawn()?))
}

/// Starts the process at the other end, see [`run`](crate::kernel::echo::run). Returns what it
/// prints.
pub(crate) fn echo() -> Result<(Killed, ChildStdout), Box<dyn Error>> {
    let mut command = command(ECHO.to_owned())?;
    command.stdout(Stdio::piped());
    let mut process = Killed(command.spawn()?);
    let out = process.0.stdout.take();
    let out = out.ok_or("a process without its standard output")?;
    Ok((process, out))
}

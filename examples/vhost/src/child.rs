// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The other processes: each is a copy of the program that starts it.

use std::env;
use std::process::ExitCode;

use examples::program::end;

use crate::{kernel, user};

/// A daemon that serves the listening socket at its standard input. Its number follows.
pub(crate) const DAEMON: &str = "--vhost-daemon=";
/// The process at the other end of a connection of `/dev/vhost-vsock`.
pub(crate) const ECHO: &str = "--vhost-echo";

/// Does the work of such a process and returns its exit code; `None` if this process is none.
/// Programs call this before all else.
#[must_use]
pub fn serve(program: &str) -> Option<ExitCode> {
    let argument = env::args().nth(1)?;
    let result = match argument.strip_prefix(DAEMON) {
        Some(moment) => moment
            .parse()
            .map_err(Into::into)
            .and_then(user::daemon::run),
        None if argument == ECHO => kernel::echo::run(),
        None => return None,
    };
    Some(end(program, result.map(|()| ExitCode::SUCCESS)))
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Host`]: the process at the other end of the connection.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::process::ChildStdout;

use crate::launch::{Killed, echo};

/// A process that sends back what it receives. It is killed on drop.
#[derive(Debug)]
pub struct Host {
    process: Killed,
    lines: BufReader<ChildStdout>,
}

impl Host {
    /// Starts the process. Returns it and the port on which it listens.
    ///
    /// # Errors
    ///
    /// If it cannot be started, or cannot listen.
    pub fn start() -> Result<(Self, u32), Box<dyn Error>> {
        let (process, out) = echo()?;
        let mut host = Self {
            process,
            lines: BufReader::new(out),
        };
        let port = host.number()?;
        Ok((host, u32::try_from(port)?))
    }

    /// Waits until the process has ended; the device must be closed already. Returns how many
    /// packets it has sent back.
    ///
    /// # Errors
    ///
    /// If it has failed.
    pub fn end(mut self) -> Result<u64, Box<dyn Error>> {
        let packets = self.number();
        let status = self.process.wait()?;
        if !status.success() {
            return Err(format!("the process of the host ended with {status}").into());
        }
        packets
    }

    fn number(&mut self) -> Result<u64, Box<dyn Error>> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        let number = line.trim().parse();
        number.map_err(|_| "the process of the host has ended early".into())
    }
}

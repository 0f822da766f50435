// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Terminal`]: a program's output on a terminal, and Ctrl-C.
#![allow(clippy::panic, reason = "a test fails by panicking")]

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Instant;

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::PATIENCE;

/// A program that a test has started, and its terminal. Drop kills the program.
#[derive(Debug)]
pub struct Terminal {
    /// `None` once its end was waited for.
    program: Option<Child>,
    shown: Receiver<Vec<u8>>,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(program) = &mut self.program {
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}

impl Terminal {
    /// Starts a program whose standard error is a terminal with so many columns.
    /// [`output`](Self::output) reads its standard output, which must fit a pipe's buffer.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn for_errors(command: &mut Command, columns: u16) -> io::Result<Self> {
        let (terminal, end) = open(columns)?;
        command.stdout(Stdio::piped()).stderr(end);
        Self::start(command, terminal)
    }

    /// Starts a program whose standard output is a terminal with so many columns.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn for_output(command: &mut Command, columns: u16) -> io::Result<Self> {
        let (terminal, end) = open(columns)?;
        command.stdout(end).stderr(Stdio::piped());
        Self::start(command, terminal)
    }

    fn start(command: &mut Command, terminal: OwnedFd) -> io::Result<Self> {
        let program = command.env_remove("COLUMNS").stdin(Stdio::null()).spawn()?;
        // The command owns the program's end of the terminal, which must be closed when the program
        // ends.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let (tell, shown) = channel();
        let mut terminal = File::from(terminal);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Reading fails when the program has ended.
            while let Ok(length @ 1..) = terminal.read(&mut bytes) {
                let bytes = bytes.get(..length).unwrap_or_default().to_vec();
                if tell.send(bytes).is_err() {
                    break;
                }
            }
        });
        let program = Some(program);
        Ok(Self { program, shown })
    }

    /// Reads until the program has shown `part`, and returns everything that it has shown
    /// meanwhile.
    ///
    /// # Panics
    ///
    /// If the program ends before, or shows nothing for [`PATIENCE`].
    #[track_caller]
    pub fn wait_for(&self, part: &str) -> String {
        let mut all = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&all);
            if text.contains(part) {
                return text.into_owned();
            }
            match self.shown.recv_timeout(PATIENCE) {
                Ok(more) => all.extend(more),
                Err(error) => panic!("no {part:?} in {text:?}: {error}"),
            }
        }
    }

    /// Sends SIGINT, as Ctrl-C does.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn interrupt(&self) -> io::Result<()> {
        let id = self
            .program
            .as_ref()
            .map(|program| i32::try_from(program.id()));
        match id {
            Some(Ok(id)) => Ok(kill(Pid::from_raw(id), Signal::SIGINT)?),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Waits for the end of the program. Returns what it has shown on the terminal since then, and
    /// what it has written elsewhere.
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Panics
    ///
    /// If it does not end within [`PATIENCE`].
    #[track_caller]
    pub fn output(mut self) -> io::Result<(String, Output)> {
        let mut all = Vec::new();
        // Not restarted at each progress: a program that does not end may show progress for ever.
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.shown.recv_timeout(left) {
                Ok(more) => all.extend(more),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!(
                        "the program does not end: {:?}",
                        String::from_utf8_lossy(&all)
                    )
                }
            }
        }
        let program = self.program.take().ok_or(io::ErrorKind::NotFound)?;
        Ok((
            String::from_utf8_lossy(&all).into_owned(),
            program.wait_with_output()?,
        ))
    }
}

/// Opens a terminal. Returns it, and its other end for a program.
fn open(columns: u16) -> io::Result<(OwnedFd, OwnedFd)> {
    let size = Winsize {
        ws_row: 25,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let terminal = openpty(&size, None)?;
    Ok((terminal.master, terminal.slave))
}

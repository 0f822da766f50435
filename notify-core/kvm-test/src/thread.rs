// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`ThreadId`]: a thread whose sleep a test can wait for.

use std::io;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

/// The kernel's name for a thread of this process.
#[derive(Debug)]
pub struct ThreadId(PathBuf);

impl ThreadId {
    /// The calling thread.
    ///
    /// # Errors
    ///
    /// Those of reading `/proc/thread-self`.
    pub fn current() -> io::Result<Self> {
        let task = std::fs::read_link("/proc/thread-self")?;
        Ok(Self(PathBuf::from("/proc").join(task).join("stat")))
    }

    /// Blocks until the thread sleeps, as it does when it waits for a lock.
    ///
    /// # Errors
    ///
    /// Those of reading from `/proc`: the thread has ended, for instance.
    pub fn wait_until_asleep(&self) -> io::Result<()> {
        // "17 (name) S ...": a name may have parentheses of its own.
        while !std::fs::read_to_string(&self.0)?
            .rsplit_once(')')
            .is_some_and(|(_, rest)| rest.starts_with(" S"))
        {
            sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

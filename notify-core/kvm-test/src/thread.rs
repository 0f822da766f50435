// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`ThreadId`]: a thread that can be seen to sleep.

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
    /// What reading `/proc/thread-self` fails with.
    pub fn current() -> io::Result<Self> {
        let task = std::fs::read_link("/proc/thread-self")?;
        Ok(Self(PathBuf::from("/proc").join(task).join("stat")))
    }

    /// Returns when the thread waits for something, as it does for a lock.
    ///
    /// # Errors
    ///
    /// What reading from `/proc` fails with: the thread has ended, for instance.
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

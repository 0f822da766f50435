// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`open`]: how many file descriptors this process has.

use std::fs;
use std::io;

/// How many file descriptors this process has, without the one that the count needs.
///
/// # Errors
///
/// Where `/proc` is not mounted.
pub fn open() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/fd")?.count() - 1)
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`kernel`]: which Linux this is, for tests of what differs between kernels.

use std::fs::read_to_string;

/// Major and minor version of the running kernel; 0 and 0 where `/proc` does not tell.
#[must_use]
pub fn kernel() -> (u32, u32) {
    let release = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next().and_then(|number| number.parse().ok());
    (number().unwrap_or(0), number().unwrap_or(0))
}

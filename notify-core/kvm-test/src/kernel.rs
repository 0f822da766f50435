// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`kernel`]: the version of the running Linux, for tests of differences between kernels.

use std::fs::read_to_string;

/// The newest kernel that the tests know.
pub(crate) const NEWEST_KNOWN: (u32, u32, u32) = (7, 2, 0);

/// Version of the running kernel, of three numbers; zeros where `/proc` does not have it.
#[must_use]
pub fn kernel() -> (u32, u32, u32) {
    let release = release();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next().and_then(|number| number.parse().ok());
    let mut number = || number().unwrap_or(0);
    (number(), number(), number())
}

/// The release of the running kernel, as `uname -r` prints it.
pub(crate) fn release() -> String {
    read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default()
}

/// How many bytes a guest of random tests stores in place of `len` bytes at `address`: 8 in place
/// of 16 where 16 could stop the **host**. On kernels without commit f1edbed787ba (in Linux 7.2 and
/// 6.18.44), a store of 16 bytes runs into a BUG_ON in `ioeventfd_in_range`, under the locks of
/// KVM, if it starts off a multiple of 8 and crosses into a page that starts with a doorbell with a
/// datamatch.
#[must_use]
pub fn harmless_store(address: u64, len: usize) -> usize {
    let kernel = kernel();
    let repaired = kernel >= (7, 2, 0) || ((6, 18, 44)..(6, 19, 0)).contains(&kernel);
    if repaired || address.is_multiple_of(8) {
        len
    } else {
        len.min(8)
    }
}

/// Whether KVM returns 0 for a message to a logical destination that no local APIC has, as Linux
/// does from 6.3 on. Earlier kernels return -1 (EPERM from KVM_SIGNAL_MSI) as long as a local APIC
/// is disabled.
#[must_use]
pub fn knows_logical_destinations() -> bool {
    kernel() >= (6, 3, 0)
}

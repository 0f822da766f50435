// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! KVM_INTERRUPT where it does not exist (arm64), or means something else (riscv64: the one line of
//! the vCPU).

use std::io;
use std::os::fd::BorrowedFd;

/// Accepts any file: no request is refused by all files but a vCPU and has no effect there.
pub(super) fn check(_: BorrowedFd<'_>) -> io::Result<()> {
    Ok(())
}

pub(super) fn interrupt(_: BorrowedFd<'_>, _: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the programs of this package share: a guest with two virtqueues, and what a device sees of them.

#[cfg(target_arch = "x86_64")]
pub mod guest;
pub mod ring;
pub mod vsock;

/// How the guest waits for an interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// It halts.
    Halt,
    /// It polls, for hosts whose emulation lets an interrupt in between `sti` and `hlt`.
    Spin,
}

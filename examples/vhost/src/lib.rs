// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the programs of this package share: a guest with two virtqueues, and what a device sees of
//! them.

#[cfg(target_arch = "x86_64")]
pub mod guest;
pub mod ring;
pub mod vsock;

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the programs of this package share: a guest with two virtqueues, and the device's side of
//! them.

pub mod arguments;
pub mod child;
pub mod descriptors;
#[cfg(target_arch = "x86_64")]
mod exits;
#[cfg(target_arch = "x86_64")]
pub mod guest;
pub mod kernel;
#[cfg(target_arch = "x86_64")]
mod launch;
#[cfg(target_arch = "x86_64")]
pub mod registers;
#[cfg(target_arch = "x86_64")]
pub mod relay;
#[cfg(target_arch = "x86_64")]
pub mod report;
#[cfg(target_arch = "x86_64")]
mod requests;
pub mod ring;
#[cfg(target_arch = "x86_64")]
mod rings;
#[cfg(target_arch = "x86_64")]
pub mod round_trip;
#[cfg(target_arch = "x86_64")]
pub mod saved;
#[cfg(target_arch = "x86_64")]
pub mod session;
#[cfg(target_arch = "x86_64")]
pub mod snapshots;
#[cfg(target_arch = "x86_64")]
mod totals;
pub mod user;
#[cfg(target_arch = "x86_64")]
pub mod vmm;
pub mod vsock;
pub mod wakeups;
#[cfg(target_arch = "x86_64")]
pub mod watch;
#[cfg(target_arch = "x86_64")]
pub mod wiring;

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A device in another process: a vhost-user daemon, and the VMM's requests to it.

#[cfg(target_arch = "x86_64")]
mod connection;
pub mod daemon;
#[cfg(target_arch = "x86_64")]
mod device;
mod echo;
#[cfg(target_arch = "x86_64")]
mod leash;

#[cfg(target_arch = "x86_64")]
pub use device::Device;
#[cfg(target_arch = "x86_64")]
pub use leash::Leash;

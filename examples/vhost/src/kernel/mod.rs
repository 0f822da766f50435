// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A device in the kernel: `/dev/vhost-vsock`, and the process at the other end of its connection.

#[cfg(target_arch = "x86_64")]
mod device;
pub mod echo;
#[cfg(target_arch = "x86_64")]
mod host;

#[cfg(target_arch = "x86_64")]
pub use device::Device;
#[cfg(target_arch = "x86_64")]
pub use host::Host;

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Guest doorbells as eventfds.
//!
//! A guest *kicks* a device by writing to a doorbell register. An [`IoEventFd`] asks the machine to
//! match such writes by address, width and value, and to signal an eventfd instead of leaving the
//! guest for user space. What no doorbell matches still exits, and is the VMM's to handle.
//!
//! ```
//! use std::sync::Arc;
//! use ioeventfd::{Datamatch, IoAddress, IoEventFd};
//! use notify_core::Bus;
//! use notify_core::sim::SimVm;
//!
//! let vm = Arc::new(SimVm::builder().build()); // or a KvmVm
//! // Queue 1 of a virtio device whose queues share one notify register.
//! let address = IoAddress::Mmio(0xfe00_b000);
//! let doorbell = IoEventFd::builder(vm.clone(), address, Datamatch::U16(1)).assign()?;
//!
//! vm.guest_write(Bus::Mmio, 0xfe00_b000, &1u16.to_le_bytes()); // the guest's part
//! assert_eq!(doorbell.notifier().wait(None)?.map(u64::from), Some(1));
//!
//! drop(doorbell); // now the same write exits to user space
//! assert_eq!(vm.guest_write(Bus::Mmio, 0xfe00_b000, &[1, 0]).exits.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod address;
mod builder;
mod claims;
mod conflict;
mod datamatch;
mod doorbell;
mod error;
mod matcher;
mod place;
mod registry;
mod request;
mod set;
pub mod virtio;
mod window;

pub use address::IoAddress;
pub use builder::IoEventFdBuilder;
pub use conflict::Conflict;
pub use datamatch::{Datamatch, Width};
pub use doorbell::IoEventFd;
pub use error::{Error, Unrestored};
pub use registry::DoorbellRegistry;
pub use set::{Doorbell, DoorbellSet, Epoch, Leftover, Plan, Rung, Stopped};
pub use window::Window;

/// The error of a call that gives back what it had consumed.
pub type Rejected<T> = notify_core::Rejected<T, Error>;

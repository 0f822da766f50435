// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Guest doorbells as eventfds.
//!
//! A guest *kicks* a device by writing to a doorbell register. An [`IoEventFd`] asks the machine to
//! match such writes by address, width and value, and to signal an eventfd instead of leaving the
//! guest for user space. What no doorbell matches still exits, and is the VMM's to handle.
//!
//! ```no_run
//! use std::sync::Arc;
//! use ioeventfd::{Datamatch, IoAddress, IoEventFd};
//! use notify_core::KvmVm;
//!
//! # fn example(vm: Arc<KvmVm>) -> Result<(), Box<dyn std::error::Error>> {
//! // Queue 1 of a virtio device whose queues share one notify register.
//! let doorbell = IoEventFd::builder(vm, IoAddress::Mmio(0xfe00_b000), Datamatch::U16(1)).assign()?;
//! if let Some(kicks) = doorbell.notifier().wait(None)? {
//!     println!("queue 1 was kicked {kicks} times");
//! }
//! # Ok(())
//! # } // the address is free again
//! ```

#![forbid(unsafe_code)]

mod address;
mod builder;
mod datamatch;
mod doorbell;
mod error;

pub use address::IoAddress;
pub use builder::IoEventFdBuilder;
pub use datamatch::{Datamatch, Width};
pub use doorbell::IoEventFd;
pub use error::Error;

/// The error of a call that gives back what it had consumed.
pub type Rejected<T> = notify_core::Rejected<T, Error>;

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Interrupts into a guest from eventfds.
//!
//! A device *calls* its guest by signalling an eventfd. An [`IrqFd`] binds one to a GSI, and KVM
//! injects the interrupt to which the routing table leads that GSI, in the signaller's own context if
//! it is a message. The device may be another thread, another process or the kernel.
//!
//! ```
//! use std::sync::Arc;
//! use irq_routing::{MsiMessage, RoutingTable};
//! use irqfd::IrqFd;
//! use notify_core::sim::SimVm;
//!
//! let vm = Arc::new(SimVm::builder().build()); // or a KvmVm
//! vm.enable_lapic(0); // the guest's part
//! let table = RoutingTable::new(vm.clone())?;
//! let lease = table.lease_msi(MsiMessage::new(0xfee0_0000, 0x40))?;
//! let irq = IrqFd::builder(lease).assign()?;
//! irq.notifier().notify()?;
//! assert_eq!(vm.pending_vectors(0), [0x40]);
//!
//! drop(irq); // disarmed, then the GSI is given back
//! assert_eq!(table.leased(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod builder;
mod edge;
mod error;
mod full;
pub mod msi;
pub mod msix;
mod numbered;
mod queue;
mod source;
mod sync;
mod vector;

pub use builder::IrqFdBuilder;
pub use edge::IrqFd;
pub use error::Error;
pub use queue::{ArmQueue, Quiesced, Round};
pub use source::IrqSource;
pub use vector::{Triggered, Vector, VectorBuilder, VectorState};

/// The error of a call that gives back what it had consumed.
pub type Rejected<T> = notify_core::Rejected<T, Error>;

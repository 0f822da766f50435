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
//!
//! A device with message-signalled interrupts (MSI, MSI-X) has a [`Vector`] for each: it needs an eventfd
//! only if somebody else is to signal it, and the guest masks and retargets it at any time. An
//! [`ArmQueue`] arms many vectors at once.
//!
//! # What the guest of a PCI device sees
//!
//! The guest writes a table of messages, and masks and unmasks its entries. A [`msix::Table`] takes these
//! accesses, whatever they are, and opens and closes its vectors; device code triggers them, or hands
//! their notifiers to vhost, VFIO or another process.
//!
//! ```
//! use std::sync::Arc;
//! use irq_routing::RoutingTable;
//! use irqfd::{ArmQueue, msix};
//! use notify_core::sim::SimVm;
//!
//! let vm = Arc::new(SimVm::builder().build()); // or a KvmVm
//! vm.enable_lapic(0); // the guest's part
//! let routing = RoutingTable::new(vm.clone())?;
//! let queue = ArmQueue::new(&routing)?; // polled by some thread of the VMM
//! let table = msix::Table::builder(&routing).vectors(3).queue(&queue).build()?;
//!
//! // The device: two virtqueues, one of them with a vhost worker.
//! let rx = msix::Binding::new(&table);
//! let tx = msix::Binding::new(&table);
//! rx.bind(1);
//! tx.bind(2);
//! let call = tx.vector().map(|vector| vector.export()).transpose()?;
//!
//! // The guest, whose writes trap: messages first, then mask bits, then Message Control.
//! for vector in 1..3 {
//!     table.write(16 * vector, &0xfee0_0000_u64.to_le_bytes());
//!     table.write(16 * vector + 8, &(0x40 + vector).to_le_bytes());
//! }
//! table.config_write(2, &0x8000_u16.to_le_bytes());
//! queue.run_pending();
//!
//! rx.trigger()?;
//! if let Some(call) = call {
//!     call.notify()?;
//! }
//! assert_eq!(vm.pending_vectors(0), [0x41, 0x42]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Devices with the older capability have a [`msi::Capability`].
//!
//! # Features
//!
//! `serde`: snapshots of tables and capabilities can be written and read.

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

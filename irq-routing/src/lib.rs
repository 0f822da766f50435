// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! KVM's GSI routing table as something that can be owned in parts.
//!
//! A GSI (global system interrupt) is a number; the routing table says what each leads to: pins of
//! interrupt controllers, or one message (MSI). KVM takes only the whole table at once, forgets
//! nothing and explains nothing: a refusal is EINVAL, a GSI without a route swallows signals.
//!
//! - [`RoutingTable`] is the table of one machine, shared by its devices.
//! - [`GsiLease`] is the right to one GSI; dropping it gives the number back.
//! - [`ParkedLease`] is a lease that its holder does not need now, and that the table may take
//!   back.
//! - [`Transaction`] stages any number of edits and commits them with at most one ioctl, or not at
//!   all.
//! - [`Line`] keeps a route in place while something may signal it; [`DrivenLine`] also keeps other GSIs
//!   from its pins, so that one party sets its level and hears its ends of interrupt.
//! - [`Observer`] is called for commits and vectors, for metrics.
//! - [`Wiring`] is a table that machines start with, such as a PC's.
//! - [`Explanation`] says how a signal travels, or why it is lost; [`Dump`] is a table as text, for bug
//!   reports, and back.
//! - [`system_calls`] has the system calls of each operation, for system call filters.
//!
//! ```toml
//! [dependencies]
//! irq-routing = "0.1" # default features: kvm-ioctls 0.25 and vmm-sys-util 0.15
//! ```
//!
//! ```no_run
//! use std::sync::Arc;
//! use irq_routing::{KvmVm, MsiMessage, RoutingTable};
//!
//! let vm_fd = kvm_ioctls::Kvm::new()?.create_vm()?;
//! vm_fd.create_irq_chip()?;
//!
//! // One table for each VM. It keeps the pins that KVM has wired (serial port, PIT, RTC).
//! let table = RoutingTable::new(Arc::new(KvmVm::try_from(&vm_fd)?))?;
//! let lease = table.lease_msi(MsiMessage::new(0xfee0_0000, 0x40))?;
//! println!("GSI {} is vector 0x40 in vCPU 0", lease.gsi());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Several changes in one commit. `SimVm`, a VM in memory, needs the feature `sim` of
//! `notify-core`, which is for tests:
//!
//! ```
//! use std::sync::Arc;
//! use irq_routing::{MsiMessage, RoutingTable};
//! use notify_core::sim::{CallKind, SimVm};
//!
//! let vm = Arc::new(SimVm::builder().build());
//! let table = RoutingTable::new(vm.clone())?;
//! let (rx, tx) = (table.lease()?, table.lease()?);
//!
//! let mut transaction = table.transaction();
//! transaction.route(&rx, MsiMessage::new(0xfee0_0000, 0x40));
//! transaction.route(&tx, MsiMessage::new(0xfee0_0000, 0x41));
//! transaction.commit()?; // one ioctl
//! assert_eq!(vm.calls(CallKind::SetGsiRouting), 1);
//!
//! drop((rx, tx)); // none: the next commit carries the removal
//! assert_eq!(vm.calls(CallKind::SetGsiRouting), 1);
//! # Ok::<(), irq_routing::Error>(())
//! ```

#![forbid(unsafe_code)]

mod apic_message;
mod armed;
mod builder;
mod chip;
mod driven;
mod dump;
mod each;
mod engine;
mod entries;
mod error;
mod explain;
mod gsi;
mod lease;
mod leasing;
mod line;
mod message;
mod observer;
mod parked;
mod pins;
mod request;
mod retranslation;
mod round;
mod route;
mod search;
mod shortage;
mod slots;
mod snapshot;
mod start;
mod state;
mod sync;
pub mod system_calls;
mod table;
mod transaction;
mod translation;
#[doc(hidden)]
pub mod versioned;
mod wiring;

pub use apic_message::{ApicMessage, DeliveryMode};
pub use armed::{Armed, Registration, Translated};
pub use builder::RoutingTableBuilder;
pub use chip::{IrqChip, Pin};
pub use driven::DrivenLine;
pub use dump::{
    ChipMatrix, Dump, DumpEntry, DumpTarget, EntryKind, MatrixCell, ParseError, Problem,
};
pub use each::{Answer, MessageEdit};
pub use error::{Error, Holder};
pub use explain::{Delay, Destination, Explanation, Hint, Loss};
pub use gsi::Gsi;
pub use lease::GsiLease;
pub use line::Line;
pub use message::MsiMessage;
pub use observer::{Committed, ObservedVector, Observer};
pub use parked::ParkedLease;
pub use pins::Pins;
pub use route::Route;
pub use snapshot::{RestoreError, Snapshot};
pub use table::RoutingTable;
pub use transaction::Transaction;
pub use wiring::Wiring;

/// The VM, and which interrupt controllers it has.
#[doc(no_inline)]
pub use notify_core::{self, KvmVm, Platform, Vm};

/// The error of a call that gives back what it had consumed.
pub type Rejected<T> = notify_core::Rejected<T, Error>;

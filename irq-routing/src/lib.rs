// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! KVM's GSI routing table, of which each device leases a part.
//!
//! A GSI (global system interrupt) is a number. The routing table routes each GSI to pins of
//! interrupt controllers, or to one message (MSI). KVM takes only the whole table at once, and
//! gives no reasons: a refusal is EINVAL, and signals of a GSI without a route are lost.
//!
//! - [`RoutingTable`] is the table of one VM, shared by its devices. A VM has one.
//! - [`GsiLease`] is the right to one GSI; dropping it gives the number back.
//! - [`ParkedLease`] is a lease that its holder does not need now. The table may take it back.
//! - [`Transaction`] stages any number of edits and commits them with at most one ioctl, or not at
//!   all.
//! - [`Line`] keeps a route in place while something may signal it. [`DrivenLine`] has exclusive
//!   control of the line's level and EOIs: no other GSI can be routed to its pins.
//! - [`Observer`] is called for commits and vectors, for metrics.
//! - [`Wiring`] is what a table starts with: the pins of a PC, a GIC or an AIA. On x86 the VM is
//!   asked, so most VMMs need none.
//! - [`Explanation`] describes how a signal travels, or why it is lost. [`Dump`] is a table as
//!   text, for bug reports, and is read back.
//! - [`system_calls`] lists the system calls of each operation, for system call filters.
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
//! Several changes in one commit. `SimVm`, a VM in memory, is of the crate `notify-sim`, which is
//! for tests:
//!
//! ```
//! use std::sync::Arc;
//! use irq_routing::{MsiMessage, RoutingTable};
//! use notify_sim::{CallKind, SimVm};
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
//!
//! # In an existing VMM
//!
//! - Make the table at the start, and give each device a clone. Do not call KVM_SET_GSI_ROUTING
//!   elsewhere: each side would delete the routes of the other.
//! - The first commit replaces KVM's table: by what the table starts with, and the edits. See
//!   [`RoutingTableBuilder::wiring`] for what that is on x86, arm64 and riscv64.
//! - The interrupt controllers must exist before the first commit, not before the table.
//! - With another version of kvm-ioctls use [`KvmVm::duplicate`], and set
//!   `default-features = false`. A VMM with a hypervisor layer of its own implements [`Vm`]; see
//!   [`notify_core::ports`].
//!
//! # Features
//!
//! `kvm-ioctls` and `vmm-sys-util` (default): as those of `notify-core`.
//!
//! `serde`: a [`Snapshot`] can be written and read.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod commit;
mod dump;
mod error;
mod explain;
mod route;
mod snapshot;
mod start;
mod sync;
pub mod system_calls;
mod table;

pub use commit::message_edit::{EditOutcome, MessageEdit};
pub use commit::transaction::Transaction;
pub use dump::{Dump, DumpEntry, ParseError, Problem};
pub use error::{Error, Holder};
pub use explain::Explanation;
pub use route::chip::{IrqChip, Pin};
pub use route::gsi::Gsi;
pub use route::kernel_entries::{DumpTarget, EntryKind};
pub use route::pins::Pins;
pub use route::{KernelRoute, Route};
#[doc(hidden)]
pub use snapshot::versioned;
pub use snapshot::{RestoreError, Snapshot};
pub use start::builder::RoutingTableBuilder;
pub use start::wiring::Wiring;
pub use table::RoutingTable;
pub use table::armed::Armed;
pub use table::driven::DrivenLine;
pub use table::lease::GsiLease;
pub use table::line::Line;
pub use table::observer::{Committed, ObservedVector, Observer};
pub use table::parked::ParkedLease;
pub use table::registration::Registration;

/// The VM, and its interrupt controllers.
#[doc(no_inline)]
pub use notify_core::{self, KvmVm, MsiMessage, Platform, Vm};

/// The error of a call that gives back what it had consumed.
pub type Rejected<T> = notify_core::Rejected<T, Error>;

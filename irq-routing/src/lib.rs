// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! KVM's GSI routing table as leases and transactions, for authors of virtual machine monitors.
//!
//! A GSI (global system interrupt) is a number. KVM's routing table routes each GSI to pins of
//! interrupt controllers, or to one MSI message. A device signals an irqfd on a GSI, and KVM
//! injects the interrupt to which the GSI is routed:
//!
//! ```text
//!  devices                     KVM's routing table                interrupt controllers
//!
//!  serial port  ──▶  GSI 4   ──▶  PIC pin 4, IOAPIC pin 4   ──▶  PIC, IOAPIC ──▶ vCPU   wiring
//!  net0, queue  ──▶  GSI 24  ──▶  MSI 0xfee00000, 0x40      ──▶  local APIC  ──▶ vCPU   lease
//!  net1, queue  ──▶  GSI 25  ──▶  MSI 0xfee01000, 0x41      ──▶  local APIC  ──▶ vCPU   lease
//! ```
//!
//! KVM replaces this table as a whole, refuses it with EINVAL for a dozen reasons, and loses the
//! signals of a GSI without a route. With this crate each device leases its GSIs. Any number of
//! changes is committed with at most one ioctl, and an error names the rule that an edit breaks.
//! If a commit fails, the table has not changed: a bad message of one device does not affect the
//! others.
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
//! # Which type for which job
//!
//! | the job | type |
//! |---|---|
//! | the table of a VM; each device has a clone | [`RoutingTable`], [`RoutingTableBuilder`] |
//! | the pins that it starts with (a PC, a GIC, an AIA) | [`Wiring`]; on x86 most VMMs need none |
//! | a GSI of a device | [`GsiLease`]; dropping it frees the number |
//! | a GSI that is not needed now, and may be taken back | [`ParkedLease`] |
//! | several routes, all or none, with one ioctl | [`Transaction`] |
//! | many messages with one ioctl, each of which succeeds or fails alone | [`RoutingTable::commit_each`] |
//! | a route that stays while an irqfd is armed | [`Line`] |
//! | exclusive control of a line's level and EOIs | [`DrivenLine`] |
//! | translation of messages (IOMMU, more than 255 vCPUs) | [`RoutingTableBuilder::translate`] |
//! | save and restore | [`Snapshot`] |
//! | why an interrupt is lost; a bug report | [`Explanation`], [`Dump`] |
//! | metrics | [`Observer`] |
//!
//! The [`guide`] has a chapter for each of these. [`system_calls`] lists the system calls of each
//! operation, for system call filters.
//!
//! Several changes in one commit, on `SimVm`, a VM in memory of the crate `notify-sim`, which is
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
//! drop((rx, tx)); // no ioctl: the next commit removes the routes
//! assert_eq!(vm.calls(CallKind::SetGsiRouting), 1);
//! # Ok::<(), irq_routing::Error>(())
//! ```
//!
//! # In an existing VMM
//!
//! - Create the table at the start, and give each device a clone. Do not call KVM_SET_GSI_ROUTING
//!   elsewhere: each side would delete the routes of the other.
//! - The first commit replaces KVM's table by what the table starts with, and the edits.
//!   [`RoutingTableBuilder::wiring`] describes that for x86, arm64 and riscv64.
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
//!
//! Needs Linux 5.8 and Rust 1.88, or later.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod commit;
mod dump;
mod error;
mod explain;
pub mod guide;
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

/// The VM, its interrupt controllers, and messages, from `notify-core`.
#[doc(no_inline)]
pub use notify_core::{self, KvmVm, MsiMessage, Platform, Vm};

/// What a failed call had consumed, with the error.
pub type Rejected<T> = notify_core::Rejected<T, Error>;

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

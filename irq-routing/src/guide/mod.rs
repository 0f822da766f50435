// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Guide: how a VMM uses the routing table.
//!
//! ```text
//!  device, vhost, VFIO                 KVM's routing table              interrupt controllers
//!
//!  signals an eventfd  ──▶  GSI 4   ──▶  PIC pin 4, IOAPIC pin 4  ──▶  PIC, IOAPIC  ──▶ vCPU
//!  (irqfd on a GSI)    ──▶  GSI 24  ──▶  MSI message              ──▶  local APIC   ──▶ vCPU
//!                      ──▶  GSI 25       no route: the signal is lost, without an error
//! ```
//!
//! | you want to | chapter |
//! |---|---|
//! | choose a type for a device | [below](#which-type-for-which-job) |
//! | create the table of a VM, on x86, arm64 or riscv64 | [`one_table`] |
//! | lease GSIs, set routes, change many at once, survive a shortage of GSIs | [`leases`] |
//! | use level-triggered lines, or an IOAPIC in user space | [`lines`] |
//! | translate messages: an emulated IOMMU, more than 255 vCPUs, an ITS | [`translation`] |
//! | save a VM and restore it | [`snapshots`] |
//! | find out why an interrupt does not arrive | [`reading`] |
//! | write a system call filter | [`system_calls`](crate::system_calls) |
//!
//! Two guides of other crates help with this one: `irqfd::guide` starts from the device, and
//! [`notify_core::ports`] shows how to implement [`Vm`](crate::Vm) for another hypervisor.
//!
//! # Which type for which job
//!
//! | the job | type | created by |
//! |---|---|---|
//! | the table of a VM | [`RoutingTable`](crate::RoutingTable) | [`RoutingTable::new`](crate::RoutingTable::new), [`builder`](crate::RoutingTable::builder) |
//! | what a table starts with | [`Wiring`](crate::Wiring) | `Wiring::pc`, `gic`, `aia`, `none` |
//! | a GSI of a device | [`GsiLease`](crate::GsiLease) | [`lease`](crate::RoutingTable::lease), [`lease_msi`](crate::RoutingTable::lease_msi), [`lease_block`](crate::RoutingTable::lease_block) |
//! | a GSI whose vector the guest has masked | [`ParkedLease`](crate::ParkedLease) | [`GsiLease::park`](crate::GsiLease::park) |
//! | several routes, all or none | [`Transaction`](crate::Transaction) | [`transaction`](crate::RoutingTable::transaction) |
//! | many messages, each succeeds or fails alone | [`MessageEdit`](crate::MessageEdit) | [`GsiLease::edit`](crate::GsiLease::edit), [`commit_each`](crate::RoutingTable::commit_each) |
//! | a GSI on which an irqfd is armed | [`Line`](crate::Line) | [`GsiLease::into_line`](crate::GsiLease::into_line) |
//! | a GSI of the VM's wiring, such as a PC's ISA interrupts | [`Line`](crate::Line) | [`RoutingTable::line`](crate::RoutingTable::line) |
//! | the level and the EOIs of a line | [`DrivenLine`](crate::DrivenLine) | [`Line::drive`](crate::Line::drive) |
//! | metrics | [`Observer`](crate::Observer) | the VMM |
//! | a saved table | [`Snapshot`](crate::Snapshot) | [`snapshot`](crate::RoutingTable::snapshot) |
//! | a bug report | [`Dump`](crate::Dump) | [`dump`](crate::RoutingTable::dump), `parse` |
//! | why an interrupt is lost | [`Explanation`](crate::Explanation) | [`explain`](crate::RoutingTable::explain) |
//!
//! Many VMMs need only the first three: the objects of the crate `irqfd` (`IrqFd`, `Vector`,
//! `LevelLine`, the MSI-X table) take leases, set routes, park and hold lines by themselves.
//!
//! # Threads and blocking
//!
//! All methods may be called on any thread. Taking, parking and dropping a lease issues no ioctl. A
//! commit blocks its caller while KVM takes the table: most of a millisecond for a full one.
//! Commits that arrive meanwhile share the next ioctl. The table holds no lock during an
//! ioctl.

pub mod leases;
pub mod lines;
pub mod one_table;
pub mod reading;
pub mod snapshots;
pub mod translation;

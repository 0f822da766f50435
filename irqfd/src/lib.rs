// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Interrupts into a guest: by eventfd (KVM_IRQFD) or by ioctl, for virtual machine monitors.
//!
//! A device *calls* its guest by signalling an eventfd. This crate binds eventfds to GSIs, emulates
//! MSI-X tables and MSI capabilities, and combines level-triggered lines. The device may be a
//! thread of the VMM, a daemon, or a driver in the kernel (vhost, VFIO).
//!
//! ```text
//!                                     mask, message, reset
//!               ┌────────── msix::Table, msi::Capability ◀──────── guest's accesses
//!               ▼
//!  device ──▶ Vector ──┬─ KVM_SIGNAL_MSI ──────────────────────┐
//!                      └─ eventfd ─▶ irqfd ─▶ GSI ─▶ route ────┼──▶ guest
//!  device ──▶ IrqFd ────────────────────────▶ GSI ─▶ route ────┤
//!  device ──▶ LevelIrq ─▶ LevelLine ─▶ pin, or message ────────┘
//!                ▲            │
//!                └── EOI ◀────┴──────────────────────────────────── guest
//! ```
//!
//! # Which type for which device
//!
//! | the device has | type | device code gets |
//! |---|---|---|
//! | MSI-X | [`msix::Table`], and a [`msix::Binding`] for each virtqueue | [`VectorHandle`], [`msix::Binding`] |
//! | MSI | [`msi::Capability`] | [`VectorHandle`] |
//! | a message-signalled interrupt whose registers the VMM emulates itself | [`Vector`] | [`VectorHandle`] |
//! | a level-triggered line (INTx, virtio-mmio), shared or not | [`LevelLine`] | [`LevelIrq`] |
//! | an edge-triggered pin, or a fixed message | [`IrqFd`] | [`EventNotifier`] |
//! | INTx of VFIO | [`vfio::PassthroughIntx`] | |
//! | no eventfd: the VMM's own code interrupts | [`inject`] | |
//!
//! | for the VM | type |
//! |---|---|
//! | the GSI routing table: one for each VM, cloned for each device | [`RoutingTable`] |
//! | arms many vectors with one commit, off the vCPU's thread | [`ArmQueue`] |
//! | EOIs of a split irqchip | [`EoiExits`] |
//! | resumes many devices with one commit | [`ResumeBatch`] |
//!
//! # A minimal example
//!
//! ```toml
//! [dependencies]
//! irqfd = "0.1" # default features: kvm-ioctls 0.25 and vmm-sys-util 0.15
//! ```
//!
//! ```no_run
//! use std::sync::Arc;
//! use irqfd::{IrqFd, KvmVm, MsiMessage, RoutingTable};
//!
//! let vm_fd = kvm_ioctls::Kvm::new()?.create_vm()?;
//! vm_fd.create_irq_chip()?;
//!
//! // One table for each VM. It keeps the pins that KVM has wired (serial port, PIT, RTC).
//! let table = RoutingTable::new(Arc::new(KvmVm::try_from(&vm_fd)?))?;
//!
//! // Each signal of the notifier is vector 0x40 in vCPU 0.
//! let lease = table.lease_msi(MsiMessage::new(0xfee0_0000, 0x40))?;
//! let irq = IrqFd::builder(lease).assign()?;
//! irq.notifier().notify()?;
//!
//! drop(irq); // disarmed, then the GSI is given back
//! assert_eq!(table.leased(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The notifier is new here. [`IrqFdBuilder::notifier`] takes an existing one:
//! `Arc::new(EventNotifier::try_from(&eventfd)?)` for an `&EventFd` of vmm-sys-util 0.15.
//!
//! **Other versions of the bindings.** Convert eventfds with [`EventNotifier::adopt_borrowed`] and
//! a `VmFd` with [`KvmVm::duplicate`]. Set `default-features = false`, so that Cargo builds no
//! second copy of these crates. A VMM with a hypervisor layer of its own implements [`Vm`]: see
//! [`notify_core::ports`].
//!
//! **One table.** Give each device a clone of the [`RoutingTable`], and do not call
//! KVM_SET_GSI_ROUTING elsewhere. On arm64 and riscv64 the table is built with a
//! [`Wiring`](irq_routing::RoutingTableBuilder::wiring).
//!
//! # Guide
//!
//! [`guide`] has a chapter for each kind of device, with examples to copy:
//!
//! | chapter | content |
//! |---|---|
//! | [`virtio_mmio`](guide::virtio_mmio) | a device with a level-triggered line: kick, status, EOI |
//! | [`virtio_pci`](guide::virtio_pci) | MSI-X: BAR, configuration space, vectors of queues, resets |
//! | [`intx`](guide::intx) | shared lines, split irqchips, EOIs, redirections |
//! | [`passthrough`](guide::passthrough) | INTx by VFIO, exported vectors |
//! | [`snapshot`](guide::snapshot) | the order of steps to save, restore and migrate; other formats |
//! | [`threads`](guide::threads) | threads, locks, what may block |
//! | [`no_interrupt`](guide::no_interrupt) | an interrupt does not arrive: by symptom |
//! | [`coming_from`](guide::coming_from) | names of other VMMs beside ours, and a porting recipe |
//!
//! Three more pages: [`system_calls`] for seccomp filters, [`suspend`] for VIRTIO_F_SUSPEND, and
//! [`inject`] for the path that each interrupt takes. The examples use `SimVm`, a VM in memory, of
//! the crate `notify-sim`, which is for tests. The folder `examples` has programs.
//!
//! # What is promised
//!
//! - What KVM accepts and then loses is refused: a GSI without a route, a notifier in semaphore
//!   mode.
//! - A guard ([`IrqFd`], [`Vector`], [`LevelIrq`]) undoes what it did when it is dropped. It keeps
//!   the VM and its notifier open, and its route in place.
//! - When a mask has returned, nothing is injected until the unmask. What was triggered meanwhile
//!   is delivered once.
//! - A trigger neither allocates nor waits for a lock.
//! - A guest can write anything: no access fails, and no other device is disturbed.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `kvm-ioctls` (default) | conversions from `VmFd` and `VcpuFd` of kvm-ioctls 0.25 |
//! | `vmm-sys-util` (default) | conversions from and to `EventFd` of vmm-sys-util 0.15 |
//! | `mio` | `&ArmQueue` is a `mio::event::Source` |
//! | `serde` | snapshots of tables, capabilities and lines can be written and read |
//!
//! For metrics, see [`RoutingTableBuilder::observer`](irq_routing::RoutingTableBuilder::observer).
//!
//! Rare failures are logged through the crate `log`: a vector that cannot deliver at level `warn`,
//! what cannot be undone or is lost at level `error`.
//!
//! Needs Linux 5.8 and Rust 1.88, or later.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod edge;
pub mod guide;
mod hex;
pub mod inject;
mod level;
pub mod msi;
pub mod msix;
mod numbered;
mod restore;
pub mod suspend;
mod sync;
pub mod system_calls;
mod vector;
pub mod vfio;

/// The routing table, and what vectors and lines are made of.
#[doc(no_inline)]
pub use irq_routing::{self, GsiLease, Line, MsiMessage, RoutingTable};
/// The notifiers, and the VM.
#[doc(no_inline)]
pub use notify_core::{self, EventNotifier, KvmVm, Rejected, Vm};

pub use edge::{IrqFd, IrqFdBuilder, IrqFdError, IrqTarget};
pub use level::{Controller, EoiExits, LevelIrq, LevelLine, LevelLineBuilder};
pub use level::{LevelError, LevelSnapshot, NoResample};
pub use restore::RestoreError;
pub use vector::{ArmQueue, Round, VectorState};
pub use vector::{Dead, ResumeBatch, Triggered, Vector, VectorBuilder, VectorError, VectorHandle};

/// The program of the README.
#[cfg(all(doctest, feature = "kvm-ioctls", target_arch = "x86_64"))]
#[doc = include_str!("../README.md")]
mod readme {}

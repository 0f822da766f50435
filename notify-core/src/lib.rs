// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! eventfd notifiers, and the trait ([`Vm`]) by which the other crates talk to the hypervisor.
//!
//! A virtual machine monitor (VMM) and its guest notify each other through two eventfds per queue.
//! QEMU calls them *host notifier* and *guest notifier*, and so does this crate:
//!
//! ```text
//!            kick                                     call
//!  guest ───────────▶ ioeventfd ─▶ host_notifier ──▶ device
//!  guest ◀─────────── irqfd ◀───── guest_notifier ◀─ device
//! ```
//!
//! | the job | the type |
//! |---|---|
//! | one eventfd, or both ends of a queue | [`EventNotifier`], [`NotifierPair`] |
//! | a device on a VMM thread | [`dispatcher::Dispatcher`] (feature `dispatcher`), or the VMM's own loop: see [`event_loops`] |
//! | a vhost device, in the kernel or in another process | [`vring::Vrings`] |
//! | requests to KVM, or to another hypervisor layer | [`KvmVm`], or a [`Vm`] of the VMM's own: see [`ports`] |
//! | interrupts from an interrupt controller in the VMM | [`KvmVcpu`], a [`Vcpu`] |
//! | tests without `/dev/kvm` | `SimVm` of the crate `notify-sim` |
//!
//! The [`guide`] explains each of them, with pictures: [which type for which
//! job](guide::which_type), [a device with a thread](guide::device_thread), [a vhost
//! device](guide::vhost_device), [threads, locks and what may block](guide::threads).
//! [`system_calls`] lists the system calls of each operation, for seccomp filters.
//!
//! The upper crates build on this one: the routing table is in `irq-routing`, interrupts are in
//! `irqfd`, doorbells in `ioeventfd`. A VMM that uses them needs few types of this crate itself: an
//! `Arc<dyn Vm>`, and an `Arc<EventNotifier>` for each end of a queue.
//!
//! ```toml
//! [dependencies]
//! notify-core = "0.1" # default features: kvm-ioctls 0.25 and vmm-sys-util 0.15
//! ```
//!
//! ```
//! use notify_core::NotifierPair;
//!
//! let queue = NotifierPair::new()?;
//! queue.host_notifier.notify()?; // what KVM does when the guest writes the doorbell
//! assert_eq!(queue.host_notifier.consume()?.map(u64::from), Some(1));
//! # Ok::<(), notify_core::Error>(())
//! ```
//!
//! A VMM's own `VmFd` and `EventFd` are converted: see the tables at [`KvmVm`] and
//! [`EventNotifier`].
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `kvm-ioctls` (default) | conversions from `VmFd` and `VcpuFd` of kvm-ioctls 0.25 |
//! | `vmm-sys-util` (default) | conversions from and to `EventFd` of vmm-sys-util 0.15 |
//! | `dispatcher` | `dispatcher::Dispatcher`, an event loop with adaptive polling |
//! | `mio` | `&EventNotifier` is a `mio::event::Source` |
//! | `vhost` | back-ends of the crate `vhost` for [`vring::Vrings`] |
//! | `anyhow` | [`Rejected`] converts into `anyhow::Error` |
//!
//! Other versions of kvm-ioctls and vmm-sys-util work without the two default features. Set
//! `default-features = false` for each of the crates then, so that Cargo builds no second copy.
//!
//! Needs Linux 5.8 or later, and Rust 1.88 or later.
#![cfg_attr(
    feature = "dispatcher",
    doc = "",
    doc = "[`dispatcher::Dispatcher`]: dispatcher::Dispatcher"
)]
#![cfg_attr(
    not(feature = "dispatcher"),
    doc = "",
    doc = "[`dispatcher::Dispatcher`]: guide::device_thread"
)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(target_os = "linux"))]
compile_error!("eventfd and KVM exist on Linux only");

#[cfg(feature = "dispatcher")]
pub mod dispatcher;
mod error;
pub mod event_loops;
#[cfg(feature = "mio")]
mod event_source;
pub mod guide;
mod hex;
mod notifier;
pub mod ports;
mod rejected;
mod sys_error;
pub mod system_calls;
mod vm;
pub mod vring;

pub use error::Error;
pub use notifier::{EventFdMode, EventNotifier, EventNotifierBuilder, NotifierPair};
pub use rejected::Rejected;
pub use sys_error::SysError;
pub use vm::{
    Bus, Extension, IoEventFdAction, IoEventFdRequest, IrqFdAction, IrqFdRequest, KvmVcpu, KvmVm,
    LineStatus, MsiMessage, MsiOutcome, Platform, Retired, RouteBuffer, RouteEntry, RouteTarget,
    RoutingClaim, Vcpu, Vm,
};

#[cfg(feature = "vmm-sys-util")]
pub use notifier::BorrowedEventFd;
/// The eventfd type of vmm-sys-util 0.15, to and from which an [`EventNotifier`] converts.
#[cfg(feature = "vmm-sys-util")]
pub use vmm_sys_util::eventfd::EventFd;

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

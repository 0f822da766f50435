// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! eventfd notifiers, and the trait ([`Vm`]) by which the other crates talk to the hypervisor.
//!
//! A virtual machine monitor (VMM) and its guest tell each other "look at your queue" through two
//! eventfds per queue. QEMU calls them *host notifier* and *guest notifier*, and so does this
//! crate:
//!
//! ```text
//!            kick                                     call
//!  guest ───────────▶ ioeventfd ─▶ host_notifier ──▶ device
//!  guest ◀─────────── irqfd ◀───── guest_notifier ◀─ device
//! ```
//!
//! - [`EventNotifier`] is one eventfd, [`NotifierPair`] both ends of one queue.
//! - [`Vm`] is the *port*: the requests that the upper crates (`irq-routing`, `irqfd`, `ioeventfd`)
//!   make to a hypervisor. [`KvmVm`] issues them as ioctls on a KVM VM. `SimVm` of the crate
//!   `notify-sim` needs no `/dev/kvm`. [`Vcpu`] is the same for vCPUs; its
//!   one method is KVM_INTERRUPT.
//! - [`ports`] is a guide for a VMM with a hypervisor layer of its own: how to implement the port,
//!   and what still works where a request is not supported.
//! - [`vring::Vrings`] hands both ends of a device's queues to a vhost back-end, in the kernel or
//!   in another process, and takes them back without losing a signal.
//! - With the feature `dispatcher`, `dispatcher::Dispatcher` calls handlers of many notifiers and
//!   other file descriptors, and polls where that pays.
//! - [`event_loops`] shows how the loop that a VMM already has watches notifiers.
//! - [`system_calls`] lists the system calls of each operation, for system call filters.
//!
//! The routing table is in the crate `irq-routing`, doorbells are in `ioeventfd`, interrupts in
//! `irqfd`.
//!
//! How the VMM's own `VmFd` and `EventFd` come in: see the tables at [`KvmVm`] and
//! [`EventNotifier`].
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
//! queue.host_notifier.notify()?; // what KVM does when the guest rings the doorbell
//! assert_eq!(queue.host_notifier.consume()?.map(u64::from), Some(1));
//! # Ok::<(), notify_core::Error>(())
//! ```
//!
//! Two examples in the folder `examples` run without `/dev/kvm`: `kick_and_call` is a queue from
//! the guest's kick to its interrupt, `traced_port` a [`Vm`] between the upper crates and a VM.
//!
//! # Features
//!
//! - `kvm-ioctls` (default): conversions from `VmFd` and `VcpuFd` of kvm-ioctls 0.25.
//! - `vmm-sys-util` (default): conversions from and to `EventFd` of vmm-sys-util 0.15.
//! - `dispatcher`: `dispatcher::Dispatcher`, an event loop.
//! - `mio`: `&EventNotifier` is a `mio::event::Source`.
//! - `anyhow`: [`Rejected`] converts into `anyhow::Error`.
//! - `vhost`: back-ends of the crate `vhost` for [`vring::Vrings`].
//!
//! Other versions of kvm-ioctls and vmm-sys-util work without the two default features. Set
//! `default-features = false` for each of the crates then, so that Cargo builds no second copy.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(target_os = "linux"))]
compile_error!("eventfd and KVM exist on Linux only");

#[cfg(feature = "dispatcher")]
pub mod dispatcher;
mod error;
pub mod event_loops;
#[cfg(feature = "mio")]
mod event_source;
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
/// The eventfd type of the rust-vmm project (vmm-sys-util 0.15), from and to which an
/// [`EventNotifier`] converts.
#[cfg(feature = "vmm-sys-util")]
pub use vmm_sys_util::eventfd::EventFd;

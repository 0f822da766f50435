// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! eventfd notifiers and the one port through which the upper crates reach a hypervisor.
//!
//! A virtual machine monitor (VMM) and its guest tell each other "look at your queue" through two
//! eventfds per queue. QEMU calls them *host notifier* and *guest notifier*, and so does this
//! crate:
//!
//! ```text
//!            kick                                     call
//!  guest ───────────▶ ioeventfd ─▶ host_notifier ─▶ device
//!  guest ◀─────────── irqfd ◀───── guest_notifier ◀─ device
//! ```
//!
//! - [`EventNotifier`] is one eventfd, [`NotifierPair`] both ends of one queue.
//! - [`Vm`] is the port: what the upper crates ask of a hypervisor. [`KvmVm`] issues ioctls
//!   on a KVM VM. With the feature `sim`, `sim::SimVm` behaves as KVM does and needs
//!   no `/dev/kvm`. [`Vcpu`] is the same for the one thing that is asked of a vCPU.
//! - [`ports`] is a guide for a VMM with a hypervisor layer of its own: how the port is implemented
//!   over it, and what works without each method.
//! - [`vring::Vrings`] hands both ends of a device's queues to a vhost back-end, in the kernel or
//!   in another process, and takes them back without losing a signal.
//! - With the feature `dispatcher`, `dispatcher::Dispatcher` calls handlers of many notifiers and
//!   other file descriptors, and polls where that pays.
//! - [`event_loops`] shows how the loop that a VMM already has listens to notifiers.
//! - [`system_calls`] has the system calls of each operation, for system call filters.
//!
//! Routing policy lives in the crate `irq-routing`, doorbells in `ioeventfd`, interrupts in
//! `irqfd`.
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
//! queue.host_notifier().notify()?; // what KVM does when the guest rings the doorbell
//! assert_eq!(queue.host_notifier().consume()?.map(u64::from), Some(1));
//! # Ok::<(), notify_core::Error>(())
//! ```

#[cfg(not(target_os = "linux"))]
compile_error!("eventfd and KVM exist on Linux only");

#[cfg(feature = "dispatcher")]
pub mod dispatcher;
mod error;
pub mod event_loops;
#[cfg(feature = "mio")]
mod event_source;
mod notifier;
pub mod ports;
pub mod system_calls;
mod vm;
pub mod vring;

pub use error::{Error, Rejected};
pub use notifier::{
    EventFdMode, EventNotifier, EventNotifierBuilder, NotifierPair, NotifierPairBuilder,
};
#[cfg(feature = "sim")]
pub use vm::sim;
pub use vm::{
    Bus, Capability, IoEventFdAction, IoEventFdRequest, IrqFdAction, IrqFdRequest, KvmVcpu, KvmVm,
    LineStatus, MsiOutcome, MsiRequest, Platform, Retired, RouteBuffer, RouteEntry, RouteTarget,
    RoutingClaim, Vcpu, Vm,
};

#[cfg(feature = "vmm-sys-util")]
pub use notifier::BorrowedEventFd;
/// The eventfd type of the rust-vmm project (vmm-sys-util 0.15), which an [`EventNotifier`] can be
/// made of, and lends.
#[cfg(feature = "vmm-sys-util")]
pub use vmm_sys_util::eventfd::EventFd;

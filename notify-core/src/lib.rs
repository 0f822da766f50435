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
//! - With the feature `mio`, `dispatcher::Dispatcher` calls handlers of many notifiers, and polls
//!   where that pays.
//!
//! Routing policy lives in the crate `irq-routing`, doorbells in `ioeventfd`, interrupts in
//! `irqfd`.
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

#[cfg(feature = "mio")]
pub mod dispatcher;
mod error;
#[cfg(feature = "mio")]
pub mod event_loops;
mod notifier;
pub mod ports;
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
    LineStatus, MsiOutcome, MsiRequest, Retired, RouteBuffer, RouteEntry, RouteTarget, Vcpu, Vm,
};

/// The eventfd type of the rust-vmm project, which every [`EventNotifier`] wraps and gives out.
pub use vmm_sys_util::eventfd::EventFd;

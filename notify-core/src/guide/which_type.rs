// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which type for which job.
//!
//! ```text
//!                          KVM (Vm)          NotifierPair          Dispatcher, or Vrings
//!                          ────────          ────────────          ─────────────────────
//!  guest ──── kick ─────▶ ioeventfd ─────▶ host_notifier ───────▶ device
//!  guest ◀─── call ────── irqfd ◀───────── guest_notifier ◀────── device
//! ```
//!
//! | the job | the type | share it as |
//! |---|---|---|
//! | one eventfd: signal it, take its counter | [`EventNotifier`] | `Arc<EventNotifier>` |
//! | both ends of one queue | [`NotifierPair`] | clone it: both ends are `Arc`s |
//! | call code when notifiers are signalled | [`Dispatcher`] (feature `dispatcher`) | clone its [`DispatcherHandle`] |
//! | watch notifiers in the loop that the VMM has | none: see [`event_loops`] | |
//! | give queues to a vhost back-end, and take them back | [`Vrings`] | owned; a `Mutex` if threads share it |
//! | make requests to a KVM VM | [`KvmVm`], a [`Vm`] | `Arc<dyn Vm>`, one for each VM |
//! | make requests to another hypervisor layer | an implementation of [`Vm`]: see [`ports`] | `Arc<dyn Vm>` |
//! | inject into a vCPU, with an interrupt controller in the VMM | [`KvmVcpu`], a [`Vcpu`] | owned, one for each vCPU; calls take `&dyn Vcpu` |
//! | test device code without `/dev/kvm` | `notify_sim::SimVm` | `Arc<SimVm>`, an `Arc<dyn Vm>` |
//!
//! # Which device needs what
//!
//! | the device runs | the kick is read by | the call is written by | types |
//! |---|---|---|---|
//! | on a VMM thread | [`Dispatcher`], or the VMM's loop | that thread | [`NotifierPair`], [`Dispatcher`] |
//! | in the kernel (vhost) | nothing: vhost is woken by the write | vhost's worker | [`NotifierPair`], [`Vrings`] |
//! | in a daemon (vhost-user) | the daemon | the daemon | [`NotifierPair`], [`Vrings`] |
//! | in hardware (VFIO) | the hardware has its own doorbell | VFIO | [`EventNotifier`], by the crate `irqfd` |
//!
//! Except for the doorbell of hardware, the other crates do the rest in the same way for all four.
//! A doorbell is made by `ioeventfd::IoEventFd` or `DoorbellSet`, an interrupt by `irqfd::IrqFd`,
//! `Vector` or `LevelIrq`. Each takes an `Arc<EventNotifier>`. The `Arc<dyn Vm>` is given once to
//! the routing table and to the registry of doorbells.
//!
//! # Both ends of a queue
//!
//! Here the requests are made directly. The crates above make them with guards that undo them.
//!
//! ```
//! use std::os::fd::AsFd;
//! use notify_core::{
//!     Bus, IoEventFdRequest, IrqFdRequest, MsiMessage, NotifierPair, RouteEntry, RouteTarget, Vm,
//! };
//! use notify_sim::SimVm;
//!
//! let vm = SimVm::builder().build(); // in a VMM: `KvmVm::try_from(&vm_fd)?`
//! vm.enable_lapic(0); // as a guest does when it boots
//! let queue = NotifierPair::new()?;
//!
//! // The doorbell: a guest's two-byte write to this address signals the host notifier.
//! let kick = queue.host_notifier.as_fd();
//! vm.ioeventfd(&IoEventFdRequest::assign(kick, Bus::Mmio, 0xd000_0000, 2))?;
//!
//! // The interrupt: GSI 24 is routed to an MSI, and the guest notifier is bound to GSI 24.
//! let route = RouteEntry::new(24, RouteTarget::Msi(MsiMessage::new(0xfee0_0000, 0x41)));
//! vm.set_gsi_routing(&[route].into_iter().collect())?;
//! vm.irqfd(&IrqFdRequest::assign(queue.guest_notifier.as_fd(), 24))?;
//!
//! // The guest kicks twice. The device takes both kicks at once, and calls once.
//! vm.guest_write(Bus::Mmio, 0xd000_0000, &[0, 0]);
//! vm.guest_write(Bus::Mmio, 0xd000_0000, &[0, 0]);
//! assert_eq!(queue.host_notifier.consume()?.map(u64::from), Some(2));
//! queue.guest_notifier.notify()?;
//! assert_eq!(vm.pending_vectors(0), [0x41]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The VMM has eventfds already
//!
//! Convert them instead of creating new ones. `From<EventFd>` and `From<Arc<EventFd>>` make no
//! system call and no second file descriptor. The table at [`EventNotifier`] has all conversions,
//! and that at [`KvmVm`] those from a `VmFd`.
//!
//! ```
//! # #[cfg(feature = "vmm-sys-util")] {
//! use std::sync::Arc;
//! use notify_core::{EventFd, EventNotifier, NotifierPair};
//!
//! let queue_evt = Arc::new(EventFd::new(0)?); // what the VMM's queue has today
//! let pair = NotifierPair {
//!     host_notifier: Arc::new(EventNotifier::from(Arc::clone(&queue_evt))),
//!     guest_notifier: Arc::new(EventNotifier::new()?),
//! };
//! queue_evt.write(1)?;
//! assert_eq!(pair.host_notifier.consume()?.map(u64::from), Some(1));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Shared or private
//!
//! A notifier is *shared* at first: `consume` uses `preadv2`, which never blocks, even if another
//! process that holds the eventfd clears `O_NONBLOCK`. Many seccomp filters do not allow
//! `preadv2`. A notifier that no other process gets can be declared
//! [private](crate::EventNotifier::declare_private), and then uses `read`.
//!
//! [`EventNotifier`]: crate::EventNotifier
//! [`NotifierPair`]: crate::NotifierPair
//! [`Vrings`]: crate::vring::Vrings
//! [`KvmVm`]: crate::KvmVm
//! [`Vm`]: crate::Vm
//! [`KvmVcpu`]: crate::KvmVcpu
//! [`Vcpu`]: crate::Vcpu
//! [`event_loops`]: crate::event_loops
//! [`ports`]: crate::ports
#![cfg_attr(
    feature = "dispatcher",
    doc = "[`Dispatcher`]: crate::dispatcher::Dispatcher",
    doc = "[`DispatcherHandle`]: crate::dispatcher::DispatcherHandle"
)]
#![cfg_attr(
    not(feature = "dispatcher"),
    doc = "[`Dispatcher`]: super::device_thread",
    doc = "[`DispatcherHandle`]: super::device_thread"
)]

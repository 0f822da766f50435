// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Guest doorbells as eventfds (KVM_IOEVENTFD), for virtual machine monitors.
//!
//! A guest *kicks* a device by a write to a doorbell register. KVM can match that write by address,
//! width and value, and signal an eventfd: the vCPU continues without an exit to user space. This
//! crate registers such doorbells, finds conflicts, and loses no kick when a BAR moves.
//!
//! ```text
//!  guest      driver writes the queue's index to the doorbell
//!  -------------------|---------------------------------------------------
//!  KVM                v
//!                I/O bus: match? -- yes --> eventfd ------+
//!                     | no                     ^          |
//!  -------------------|------------------------|----------|---------------
//!  VMM                v                        |          v
//!                exit -----> DoorbellSet::on_exit_write   device thread, or vhost
//! ```
//!
//! ```toml
//! [dependencies]
//! ioeventfd = "0.1" # default features: kvm-ioctls 0.25 and vmm-sys-util 0.15
//! kvm-ioctls = "0.25"
//! ```
//!
//! ```no_run
//! use std::sync::Arc;
//! use ioeventfd::{Datamatch, IoAddress, IoEventFd, KvmVm};
//!
//! let vm_fd = kvm_ioctls::Kvm::new()?.create_vm()?;
//! let vm = Arc::new(KvmVm::try_from(&vm_fd)?);
//!
//! // A 16-bit write of 0 to the doorbell signals the notifier.
//! let kick = IoEventFd::builder(vm, IoAddress::Mmio(0xfe00_b000), Datamatch::U16(0)).assign()?;
//! while let Some(_kicks) = kick.notifier().wait(None)? {
//!     // ... serve the queue ...
//! }
//! # drop(kick); // deregistered
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Which type for which job
//!
//! | job | type |
//! |---|---|
//! | one register at a fixed address | [`IoEventFd`] |
//! | all doorbells of a device: start, stop, move with a BAR | [`DoorbellSet`] |
//! | addresses and values of a virtio device's doorbells | [`virtio::PciModern`], [`virtio::pci_legacy`], [`virtio::mmio`] |
//! | conflicts between devices, and with the irqchip | [`DoorbellRegistry`] with [`Window`]s, one for each VM |
//! | kicks that exit to user space | [`DoorbellSet::on_exit_write`] |
//! | a queue that vhost serves | [`DoorbellSet`] with [`Vrings`](notify_core::vring::Vrings) |
//!
//! # The guide
//!
//! - [How a kick travels](guide::kick), and [which type for which device](guide::which_type).
//! - [A virtio-mmio device](guide::virtio_mmio), [a virtio-pci device](guide::virtio_pci),
//!   [a BAR that moves](guide::moving_bar), [a queue that vhost reads](guide::vhost).
//! - [Without ioeventfds](guide::without_ioeventfds): kicks that are exits.
//! - [A kick does not arrive](guide::kick_does_not_arrive): causes by symptom, and cures.
//! - [`system_calls`]: the system calls of each operation, for system call filters.
//!
//! # A virtio-pci device with two queues
//!
//! It runs on `SimVm`, a VM in memory. That is in the crate `notify-sim`, which is for tests.
//!
//! ```
//! use std::sync::Arc;
//! use ioeventfd::virtio::{NotifyCapability, Notification, PciModern, PciQueue};
//! use ioeventfd::{DoorbellRegistry, DoorbellSet, IoAddress, Window};
//! use notify_sim::SimVm;
//! use notify_core::{Bus, EventNotifier};
//!
//! let vm = Arc::new(SimVm::builder().build()); // or a KvmVm
//! // One for each VM. No doorbell may lie among the registers of the irqchip.
//! let registry = DoorbellRegistry::new(vm.clone(), Window::of_irqchip(&*vm)?);
//!
//! // The notify capability, and two enabled queues. BAR 4 is at 0xfe008000.
//! let capability = NotifyCapability { offset: 0x3000, length: 0x1000, multiplier: 4 };
//! let layout = PciModern::new(capability, 0x4000, Notification::Index)?;
//! let enabled = [PciQueue::new(0, 0), PciQueue::new(1, 1)]; // queue_notify_off is the index
//! let bells = layout.doorbells(IoAddress::Mmio(0xfe00_8000), enabled)?;
//! let queues = [Arc::new(EventNotifier::new()?), Arc::new(EventNotifier::new()?)];
//! let wanted = bells.into_iter().zip(&queues).map(|(bell, queue)| bell.signalling(queue.clone()));
//!
//! let set = DoorbellSet::new(&registry);
//! set.apply(set.plan(wanted)?)?;
//!
//! vm.guest_write(Bus::Mmio, 0xfe00_b004, &1u16.to_le_bytes()); // the guest's part
//! assert_eq!(queues[1].wait(None)?.map(u64::from), Some(1));
//!
//! // The device stops: queue 0 was kicked and has to be processed once more.
//! vm.guest_write(Bus::Mmio, 0xfe00_b000, &0u16.to_le_bytes());
//! let stopped = set.stop()?;
//! assert_eq!(stopped.leftovers[0].key, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # With the types that a VMM has
//!
//! | the VMM has | conversion |
//! |---|---|
//! | `VmFd` of kvm-ioctls 0.25 | `KvmVm::try_from(&vm_fd)` |
//! | `VmFd` of another version | [`KvmVm::duplicate`] |
//! | `EventFd` of vmm-sys-util 0.15 | `EventNotifier::try_from(&eventfd)`, then [`IoEventFdBuilder::notifier`] or [`Doorbell::new`] |
//! | `EventFd` of another version | [`EventNotifier::adopt_borrowed`] |
//! | a hypervisor layer of its own | [`notify_core::ports`] |
//!
//! With other versions set `default-features = false`.
//!
//! Needs Linux 5.8 or later, and Rust 1.88 or later.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod bus;
mod doorbell;
mod error;
pub mod guide;
mod registry;
mod set;
pub mod system_calls;
pub mod virtio;

/// The notifiers and the VM.
#[doc(no_inline)]
pub use notify_core::{self, EventNotifier, KvmVm, Vm};

pub use bus::{Conflict, Datamatch, IoAddress, Width, Window};
pub use doorbell::{IoEventFd, IoEventFdBuilder};
pub use error::{Error, Unrestored};
pub use registry::DoorbellRegistry;
pub use set::{AfterExit, Doorbell, DoorbellSet, Epoch, Leftover, Plan, Stopped};

/// What a failed call had consumed, with the error.
pub type Rejected<T> = notify_core::Rejected<T, Error>;

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

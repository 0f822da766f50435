// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Guest doorbells as eventfds.
//!
//! A guest *kicks* a device by writing to a doorbell register. An [`IoEventFd`] asks KVM to match
//! such writes by address, width and value, and to signal an eventfd instead of an exit to user
//! space. A [`DoorbellSet`] has all doorbells of a device, and changes them together: when the
//! device starts and stops, when its BAR moves, when a queue's eventfd changes. [`virtio`] computes
//! where a virtio device has its doorbells.
//! [`system_calls`] lists the system calls of each operation, for system call filters.
//!
//! ```toml
//! [dependencies]
//! ioeventfd = "0.1" # default features: kvm-ioctls 0.25 and vmm-sys-util 0.15
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
//! The notifier is new here. [`IoEventFdBuilder::notifier`] takes an existing one:
//! `Arc::new(EventNotifier::try_from(&eventfd)?)` for an `&EventFd` of vmm-sys-util 0.15. Other
//! versions come in by [`EventNotifier::adopt_borrowed`], and a `VmFd` of another version of
//! kvm-ioctls by [`KvmVm::duplicate`]; set `default-features = false` then.
//!
//! A virtio device with several queues. `SimVm`, a VM in memory, is of the crate `notify-sim`,
//! which is for tests:
//!
//! ```
//! use std::sync::Arc;
//! use ioeventfd::virtio::{NotifyCapability, Notification, PciModern, PciQueue};
//! use ioeventfd::{DoorbellRegistry, DoorbellSet, IoAddress, Window};
//! use notify_sim::SimVm;
//! use notify_core::{Bus, EventNotifier};
//!
//! let vm = Arc::new(SimVm::builder().build()); // or a KvmVm
//! // One for each VM; no doorbell may lie where the irqchip is.
//! let registry = DoorbellRegistry::new(vm.clone(), Window::of_irqchip(&*vm)?);
//!
//! // A virtio-pci device with two queues, its BAR 4 at 0xfe008000.
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
//! // When the driver resets the device, what is left is one more look at a queue.
//! vm.guest_write(Bus::Mmio, 0xfe00_b000, &0u16.to_le_bytes());
//! let stopped = set.stop()?;
//! assert_eq!(stopped.leftovers[0].key, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How a kick travels
//!
//! ```text
//!  guest     driver: buffer on the ring, then a 16-bit store of the queue's index
//!              |       to  BAR 0xfe008000 + offset 0x3000 + notify_off 1 * multiplier 4
//!              |                                                       (1) virtio::PciModern
//!  ------------|------------------------------------------------------------------------------
//!  kernel      v
//!            exit of the vCPU: no memory slot is there
//!              |
//!              v
//!            I/O bus: address, width, value?  --- no --------------+   (2) DoorbellSet::apply,
//!              | yes                                               |       IoEventFd
//!              v                                                   |
//!            eventfd: counter + 1                                  |   (3) EventNotifier
//!              |          ^                                        |
//!              |          |                                        |
//!  ------------|----------|----------------------------------------|--------------------------
//!  VMM         |          |                                        v
//!              |          |                        KVM_EXIT_MMIO, KVM_EXIT_IO on the vCPU's thread
//!              |          |                                        |
//!              |          +---- EventNotifier::notify ---- DoorbellSet::on_exit_write   (4)
//!              v                                                   |
//!            handler: EventNotifier::consume, then the ring   (5)  +- AfterExit::Emulate: another
//!            (or a vhost worker, which looks at the ring and leaves the counter)     register
//! ```
//!
//! 1. The driver computes the address from the notify capability and the queue's offset, as
//!    [`virtio::PciModern`] does for the VMM; so the two agree on where the store goes.
//! 2. The vCPU exits to the kernel. KVM looks for a registered doorbell of that address, width and
//!    value: a [`Doorbell`] of a set that is started, or an [`IoEventFd`] by itself. If there is
//!    one, the vCPU runs on at once, and there is no exit to user space.
//! 3. The eventfd that was registered is that of an [`EventNotifier`]. Its counter adds up: two
//!    kicks before it is read are one wake-up, and a count of two.
//! 4. Without a match, the write exits to user space. That happens while a BAR moves, before a
//!    device is started, and for stores that the kernel cuts in two. [`DoorbellSet::on_exit_write`]
//!    decides as the kernel would have, and signals the same notifier.
//! 5. The thread that polls the eventfd takes the count and serves the ring. [`DoorbellSet::stop`]
//!    takes a count that is left, and [`DoorbellSet::start`] kicks once, so that what the driver
//!    did before is seen.
//!
//! # To vhost and back
//!
//! vhost polls the same eventfd in the kernel, and never clears its counter. To hand a queue over:
//!
//! 1. Remove the VMM's handler from the notifier.
//! 2. Give the notifier's file descriptor to VHOST_SET_VRING_KICK, and set the backend.
//! 3. Call [`DoorbellSet::kick`]: a kick from before the backend was set may have had no effect.
//!
//! To take it back:
//!
//! 1. Unset the backend, and call VHOST_SET_VRING_KICK with -1.
//! 2. Call [`DoorbellSet::drain`]. It clears a counter that holds every kick since vhost began.
//!    Before step 1 this could hide a kick from vhost.
//! 3. Look at each of those queues once, whatever the count.
//! 4. Add the handler again. Before step 2 it would take old kicks for new ones.
//!
//! The doorbell stays registered all the while. [`Vrings`](notify_core::vring::Vrings) does this
//! for all queues of a device, except for the handlers.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod bus;
mod doorbell;
mod error;
mod registry;
mod set;
pub mod system_calls;
pub mod virtio;

/// The notifiers, and the VM.
#[doc(no_inline)]
pub use notify_core::{self, EventNotifier, KvmVm, Vm};

pub use bus::{Conflict, Datamatch, IoAddress, Width, Window};
pub use doorbell::{IoEventFd, IoEventFdBuilder};
pub use error::{Error, Unrestored};
pub use registry::DoorbellRegistry;
pub use set::{AfterExit, Doorbell, DoorbellSet, Epoch, Leftover, Plan, Stopped};

/// The error of a call that gives back what it had consumed.
pub type Rejected<T> = notify_core::Rejected<T, Error>;

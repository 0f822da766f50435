// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A kick does not arrive: causes by symptom, how to see each, and the cure.
//!
//! # Where does it stop?
//!
//! Trace one kick on the host: `trace-cmd record -e kvm:kvm_mmio -e kvm:kvm_fast_mmio -e
//! kvm:kvm_pio -e kvm:kvm_userspace_exit`. And read the counter: `eventfd-count` in
//! `/proc/PID/fdinfo/FD`, which is in hex.
//!
//! | what you see | look at |
//! |---|---|
//! | no event at the address | [The guest writes elsewhere](#the-guest-writes-elsewhere) |
//! | a write, and then an exit to user space | [The write exits](#the-write-exits) |
//! | a write, no exit, and the count does not grow | [Another doorbell or device takes the write](#another-doorbell-or-device-takes-the-write) |
//! | the count grows, and stays | [The counter is not read](#the-counter-is-not-read) |
//! | the count is 0 after each kick, and the queue hangs | [Another reader takes the count](#another-reader-takes-the-count) |
//! | the count is `fffffffffffffffe` or more | [The counter is full](#the-counter-is-full) |
//!
//! `DoorbellSet::doorbells` lists what the set has, and `is_started` whether it is registered.
//!
//! # The guest writes elsewhere
//!
//! - *A memory slot covers the address.* Then the write goes to RAM, and never exits. See the
//!   memory slots of the VM; cure: leave a gap for the BAR. (A read-only slot does not prevent a
//!   kick.)
//! - *The BAR is elsewhere.* Compare the guest's `lspci -v` with `DoorbellSet::doorbells`. Cure:
//!   call [`relocate`](crate::DoorbellSet::relocate) at each BAR write; see
//!   [A BAR that moves](super::moving_bar).
//! - *The driver kicks through configuration space.* See [Kicks through configuration
//!   space](super::without_ioeventfds#kicks-through-configuration-space).
//! - *The driver does not kick.* The device has suppressed kicks in the ring
//!   (VIRTQ_USED_F_NO_NOTIFY or the event index), and has not allowed them again.
//!
//! # The write exits
//!
//! Log address and bytes where [`on_exit_write`](crate::DoorbellSet::on_exit_write) returns
//! [`Emulate`](crate::AfterExit::Emulate), and compare with `DoorbellSet::doorbells`:
//!
//! | difference | cause | cure |
//! |---|---|---|
//! | the address, by the distance of a BAR | the BAR has moved, or the move failed | `relocate`, and handle its error |
//! | the address, otherwise | another `notify_off` or multiplier than the driver's | build the layout from what the guest reads |
//! | the number of bytes | wrong width: 2 bytes for PCI, 4 for MMIO and notification data | the layouts in [`virtio`](crate::virtio) |
//! | the value | wrong byte order, or VIRTIO_F_NOTIF_CONFIG_DATA | a value in the host's order; [`PciQueue::value`](crate::virtio::PciQueue) |
//! | none | the set is stopped: `is_started` is false | [`start`](crate::DoorbellSet::start) |
//!
//! ```
//! # use std::sync::Arc;
//! # use ioeventfd::{Datamatch, Doorbell, DoorbellRegistry, DoorbellSet, IoAddress, Width};
//! # use notify_core::EventNotifier;
//! # use notify_sim::SimVm;
//! # let vm = Arc::new(SimVm::builder().build());
//! # let set = DoorbellSet::new(&DoorbellRegistry::new(vm.clone(), &[]));
//! # let queue = Arc::new(EventNotifier::new()?);
//! use notify_core::Bus;
//!
//! let address = IoAddress::Mmio(0xfe00_b000);
//! // Wrong: a driver without notification data writes 2 bytes.
//! let bell = Doorbell::new(0, address, Datamatch::Width(Width::W4), queue.clone());
//! set.apply(set.plan([bell])?)?;
//!
//! let kick = vm.guest_write(Bus::Mmio, 0xfe00_b000, &0_u16.to_le_bytes());
//! assert_eq!(kick.signalled, 0);
//! let exit = kick.exits[0];
//! assert_eq!(set.key_of_write(IoAddress::Mmio(exit.address), exit.bytes()), None);
//! let there = &set.doorbells()[0];
//! assert_eq!(there.address, IoAddress::Mmio(exit.address));
//! assert_ne!(there.datamatch.bytes() as usize, exit.bytes().len()); // the width differs
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! If each kick exits and the result is [`Resume`](crate::AfterExit::Resume), kicks arrive, but
//! slowly. Either a change failed with [`NotUndone`](crate::Error::NotUndone): plan and apply
//! again. Or the doorbell is [shadowed](#another-doorbell-or-device-takes-the-write).
//!
//! A few kicks that exit while a BAR moves are normal. If they are lost, the VMM does not pass its
//! exits to `on_exit_write`, or called [`vcpus_passed`](crate::DoorbellSet::vcpus_passed) too
//! early.
//!
//! # Another doorbell or device takes the write
//!
//! KVM accepts doorbells that overlap or adjoin, and doorbells among the registers of the irqchip.
//! Then one of two things happens to a write, depending on what else is registered:
//!
//! - The other doorbell or the device *takes* it. There is no exit, and no signal.
//! - The other doorbell *shadows* this one: KVM's search misses it, and the write exits, although
//!   address, width and value are right.
//!
//! A set refuses such doorbells with a [`Conflict`](crate::Conflict), if the registry knows both.
//! So look for what it does not know:
//!
//! - *A doorbell outside the registry*: an [`IoEventFd`](crate::IoEventFd), or a KVM_IOEVENTFD of
//!   the VMM's own. Cure: put all doorbells of a VM into sets of one registry.
//! - *A device in the kernel*: a PIC, a GIC, a zone of coalesced MMIO. Cure: pass its
//!   [`Window`](crate::Window) to the registry; the plan then fails, and names the device.
//!
//! ```
//! # use std::sync::Arc;
//! # use ioeventfd::{Datamatch, Doorbell, DoorbellRegistry, DoorbellSet, IoAddress, Width, Window};
//! # use notify_core::EventNotifier;
//! # use notify_sim::SimVm;
//! # let vm = Arc::new(SimVm::builder().build());
//! # let queue = Arc::new(EventNotifier::new()?);
//! let zone = Window::new(IoAddress::Mmio(0xfe00_b000), 0x1000, "the coalesced zone");
//! let registry = DoorbellRegistry::new(vm, &[zone]);
//! let set = DoorbellSet::new(&registry);
//! let bell = Doorbell::new(0, IoAddress::Mmio(0xfe00_b004), Datamatch::Width(Width::W2), queue);
//! assert_eq!(
//!     set.plan([bell]).unwrap_err().to_string(),
//!     "the doorbell at MMIO 0xfe00b004 for any 16-bit write cannot be there: it lies in the \
//!      registers of the coalesced zone (0x1000 bytes from MMIO 0xfe00b000 on)",
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The counter is not read
//!
//! - *The handler is paused or removed.* With the dispatcher of `notify-core`: after `pause` the
//!   kicks stay in the counter until `resume`. See it by
//!   [`is_signalled`](crate::EventNotifier::is_signalled), which stays true.
//! - *The loop watches another eventfd.* Two eventfds, or an `Arc` that was replaced by a later
//!   `apply`. Compare the numbers `eventfd-id` in `/proc/PID/fdinfo`.
//! - *The loop uses EPOLLONESHOT*, and did not arm the descriptor again after the last event.
//! - *vhost has the queue.* A vhost worker in the kernel never reads the counter, so a count that
//!   grows is normal. If the ring is not served, the kick came before the backend was set: call
//!   [`kick`](crate::DoorbellSet::kick) afterwards.
//!
//! # Another reader takes the count
//!
//! A read takes all kicks. If two threads or processes read one eventfd, one of them gets nothing.
//! Typical cases: the VMM's handler is still active beside a vhost-user daemon, or
//! [`drain`](crate::DoorbellSet::drain) was called while the daemon runs. Cure: one reader at a
//! time, in the order of [A queue that vhost reads](super::vhost).
//!
//! # The counter is full
//!
//! Kicks alone never fill a 64-bit counter; a process that shares the eventfd can. Kicks that KVM
//! sends still wake the readers. Signals from user space do not: the write fails with EAGAIN, and a
//! kernel worker, which never reads, is not woken. If the process has also cleared O_NONBLOCK, the
//! write blocks. So kicks that exit are lost or block their vCPU, and others arrive.
//!
//! ```
//! use std::num::NonZeroU64;
//! use notify_core::EventNotifier;
//!
//! let queue = EventNotifier::new()?;
//! // The peer fills the counter.
//! queue.add(NonZeroU64::new(u64::MAX - 1).unwrap())?;
//! assert!(!queue.try_notify()?); // the counter did not grow
//! // The cure, once vhost is stopped: take the count.
//! assert!(queue.consume()?.is_some());
//! assert!(queue.try_notify()?);
//! # Ok::<(), notify_core::Error>(())
//! ```
//!
//! Cure: stop the back-end and call [`drain`](crate::DoorbellSet::drain). If the peer is hostile,
//! give the queue another eventfd by [`apply`](crate::DoorbellSet::apply), and end the peer.

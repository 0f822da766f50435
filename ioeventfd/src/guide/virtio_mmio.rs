// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A virtio-mmio device.
//!
//! All queues share the register QueueNotify at offset 0x50. The driver writes four bytes, the
//! queue's index (VIRTIO 1.3, 4.2.2). So each queue has a doorbell for one value at one address.
//!
//! ```text
//!  0xd0000000  MagicValue      exits
//!     ...                      exits
//!  0xd0000050  QueueNotify     0 ─▶ notifier of queue 0      1 ─▶ notifier of queue 1
//!     ...                      exits
//!  0xd0000070  Status          exits
//! ```
//!
//! # When to call what
//!
//! | the driver | the VMM calls |
//! |---|---|
//! | sets DRIVER_OK | [`plan`](crate::DoorbellSet::plan) and [`apply`](crate::DoorbellSet::apply) with the queues that are ready, then [`start`](crate::DoorbellSet::start) |
//! | writes to a register | [`on_exit_write`](crate::DoorbellSet::on_exit_write), and emulates what is no kick |
//! | writes 0 to Status (reset) | [`stop`](crate::DoorbellSet::stop), and discards what is left over |
//!
//! | the VMM | calls |
//! |---|---|
//! | pauses the VM for a snapshot | nothing: doorbells stay registered, and kicks stay in the notifiers. Save which notifiers are signalled; see `irqfd::guide::snapshot` |
//! | restores it in another VM | [`plan`](crate::DoorbellSet::plan), [`apply`](crate::DoorbellSet::apply), then [`kick`](crate::DoorbellSet::kick): each queue is looked at once |
//! | removes the device | drops the set |
//!
//! ```
//! use std::sync::Arc;
//! use ioeventfd::virtio::{self, Notification};
//! use ioeventfd::{AfterExit, DoorbellRegistry, DoorbellSet, IoAddress, Window};
//! use notify_core::{Bus, EventNotifier};
//! use notify_sim::SimVm;
//!
//! const BASE: u64 = 0xd000_0000;
//! let vm = Arc::new(SimVm::builder().build());
//! let registry = DoorbellRegistry::new(vm.clone(), Window::of_irqchip(&*vm)?);
//! let set = DoorbellSet::new(&registry);
//! let queues = [Arc::new(EventNotifier::new()?), Arc::new(EventNotifier::new()?)];
//!
//! // DRIVER_OK: queues 0 and 1 are ready.
//! let bells = virtio::mmio(BASE, [0, 1], Notification::Index)?;
//! let wanted = bells.into_iter().zip(&queues).map(|(bell, queue)| bell.signalling(queue.clone()));
//! set.apply(set.plan(wanted)?)?;
//! set.start()?; // no effect the first time: a new set is started
//!
//! // The driver kicks queue 1.
//! let kick = vm.guest_write(Bus::Mmio, BASE + 0x50, &1_u32.to_le_bytes());
//! assert_eq!((kick.signalled, kick.exits.len()), (1, 0));
//!
//! // A write to another register exits, here a reset.
//! for exit in vm.guest_write(Bus::Mmio, BASE + 0x70, &0_u32.to_le_bytes()).exits {
//!     let next = set.on_exit_write(IoAddress::Mmio(exit.address), exit.bytes())?;
//!     assert_eq!(next, AfterExit::Emulate);
//! }
//! let stopped = set.stop()?;
//! assert_eq!(stopped.leftovers[0].key, 1); // kicked, not served
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Notification data
//!
//! With VIRTIO_F_NOTIFICATION_DATA the four bytes also contain the driver's position in the ring.
//! KVM can then match the width only, so it cannot distinguish two queues. For a device with one
//! queue [`virtio::mmio`](crate::virtio::mmio) returns a doorbell for any value. For more queues it
//! fails with [`LayoutError::Indistinct`](crate::virtio::LayoutError::Indistinct). Then do not
//! offer the feature, or handle the kicks as [exits](super::without_ioeventfds).
//!
//! ```
//! use ioeventfd::virtio::{self, LayoutError, Notification};
//! use ioeventfd::{Datamatch, Width};
//!
//! let one = virtio::mmio(0xd000_0000, [0], Notification::Data)?;
//! assert_eq!(one[0].datamatch, Datamatch::Width(Width::W4));
//! let two = virtio::mmio(0xd000_0000, [0, 1], Notification::Data);
//! assert_eq!(two, Err(LayoutError::Indistinct));
//! # Ok::<(), LayoutError>(())
//! ```

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A virtio-pci device: modern, with notification data, and legacy.
//!
//! # What the guest writes
//!
//! | device | address | the guest writes | doorbell |
//! |---|---|---|---|
//! | modern, multiplier not 0 | BAR + `cap.offset` + `queue_notify_off` * `notify_off_multiplier` | 2 bytes, the index | `Width(W2)` |
//! | modern, multiplier 0, or queues with one offset | the same, shared | 2 bytes, the index | `U16(index)` |
//! | with VIRTIO_F_NOTIF_CONFIG_DATA | as above | 2 bytes, `queue_notif_config_data` | as above, with that value |
//! | with VIRTIO_F_NOTIFICATION_DATA | as above, not shared | 4 bytes, with the position in the ring | `Width(W4)` |
//! | legacy | BAR 0 (ports) + 0x10 | 2 bytes, the index | `U16(index)` |
//!
//! VIRTIO 1.3, 4.1.4.4, 4.1.4.10 and 4.1.5.2. A doorbell with another width never rings: with a
//! doorbell of 4 bytes each 2-byte kick exits to user space.
//!
//! # A modern device
//!
//! [`PciModern::new`](crate::virtio::PciModern::new) checks the notify capability once.
//! [`doorbells`](crate::virtio::PciModern::doorbells) computes the addresses when the driver sets
//! DRIVER_OK, from the queues that the driver has enabled and the base of the BAR at that time.
//!
//! ```
//! use std::sync::Arc;
//! use ioeventfd::virtio::{Notification, NotifyCapability, PciModern, PciQueue};
//! use ioeventfd::{DoorbellRegistry, DoorbellSet, IoAddress, Window};
//! use notify_core::{Bus, EventNotifier};
//! use notify_sim::SimVm;
//!
//! let vm = Arc::new(SimVm::builder().build());
//! let registry = DoorbellRegistry::new(vm.clone(), Window::of_irqchip(&*vm)?);
//! let set = DoorbellSet::new(&registry);
//! let queues = [Arc::new(EventNotifier::new()?), Arc::new(EventNotifier::new()?)];
//!
//! // BAR 4 has 16 KiB. The notify region is the last page, with 4 bytes for each queue.
//! let capability = NotifyCapability { offset: 0x3000, length: 0x1000, multiplier: 4 };
//! let layout = PciModern::new(capability, 0x4000, Notification::Index)?;
//!
//! // DRIVER_OK: queues 0 and 1 are enabled, and their queue_notify_off is their index.
//! let enabled = [PciQueue::new(0, 0), PciQueue::new(1, 1)];
//! let bells = layout.doorbells(IoAddress::Mmio(0xfe00_8000), enabled)?;
//! let wanted = bells.into_iter().zip(&queues).map(|(bell, queue)| bell.signalling(queue.clone()));
//! set.apply(set.plan(wanted)?)?;
//! set.start()?;
//!
//! // 0xfe008000 + 0x3000 + 1 * 4
//! let kick = vm.guest_write(Bus::Mmio, 0xfe00_b004, &1_u16.to_le_bytes());
//! assert_eq!(kick.signalled, 1);
//! assert_eq!(queues[1].consume()?.map(u64::from), Some(1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! When to call what is as for a [virtio-mmio device](super::virtio_mmio#when-to-call-what). When
//! the guest writes the BAR, see [A BAR that moves](super::moving_bar).
//!
//! # A capability from another process
//!
//! With vhost-user or vfio-user another process may choose the capability. The layout checks it, in
//! arithmetic that cannot overflow. A doorbell never lies outside the notify region or the BAR.
//!
//! ```
//! use ioeventfd::virtio::{LayoutError, Notification, NotifyCapability, PciModern, PciQueue};
//! use ioeventfd::IoAddress;
//!
//! let capability = NotifyCapability { offset: 0x3000, length: 0x1000, multiplier: 4 };
//! let layout = PciModern::new(capability, 0x4000, Notification::Index)?;
//! let outside = layout.doorbells(IoAddress::Mmio(0xfe00_8000), [PciQueue::new(0, 0x400)]);
//! assert!(matches!(outside, Err(LayoutError::OutsideRegion { queue: 0, .. })));
//! # Ok::<(), LayoutError>(())
//! ```
//!
//! # Notification data
//!
//! With VIRTIO_F_NOTIFICATION_DATA a kick has four bytes: the index in the low half, and the
//! driver's position in the ring in the high half. The value is not known in advance, so each queue
//! needs an address of its own, and the multiplier must be at least 4. An ioeventfd does not
//! transport the data: the device reads the position from the ring, as without the feature.
//!
//! ```
//! use ioeventfd::virtio::{LayoutError, Notification, NotifyCapability, PciModern, PciQueue};
//! use ioeventfd::{Datamatch, IoAddress, Width};
//!
//! let bar = IoAddress::Mmio(0xfe00_8000);
//! let both = [PciQueue::new(0, 0), PciQueue::new(1, 1)];
//! let mut capability = NotifyCapability { offset: 0x3000, length: 0x1000, multiplier: 4 };
//! let layout = PciModern::new(capability, 0x4000, Notification::Data)?;
//! assert_eq!(layout.doorbells(bar, both)?[1].datamatch, Datamatch::Width(Width::W4));
//!
//! // With a multiplier of 0 KVM cannot distinguish the queues.
//! capability.multiplier = 0;
//! let layout = PciModern::new(capability, 0x4000, Notification::Data)?;
//! assert_eq!(layout.doorbells(bar, both), Err(LayoutError::Indistinct));
//! # Ok::<(), LayoutError>(())
//! ```
//!
//! # The legacy port
//!
//! A transitional device has both registers, because the VMM does not know which driver will come.
//! Give both doorbells of a queue the same key and the same notifier, in one set. Both then move,
//! stop and start together, and [`stop`](crate::DoorbellSet::stop) returns the queue once.
//!
//! ```
//! use std::sync::Arc;
//! use ioeventfd::virtio::{self, Notification, NotifyCapability, PciModern, PciQueue};
//! use ioeventfd::{DoorbellRegistry, DoorbellSet, IoAddress, Window};
//! use notify_core::{Bus, EventNotifier};
//! use notify_sim::SimVm;
//!
//! # let vm = Arc::new(SimVm::builder().build());
//! # let registry = DoorbellRegistry::new(vm.clone(), Window::of_irqchip(&*vm)?);
//! let set = DoorbellSet::new(&registry);
//! let queue = Arc::new(EventNotifier::new()?);
//! let capability = NotifyCapability { offset: 0x3000, length: 0x1000, multiplier: 4 };
//! let layout = PciModern::new(capability, 0x4000, Notification::Index)?;
//!
//! let modern = layout.doorbells(IoAddress::Mmio(0xfe00_8000), [PciQueue::new(0, 0)])?;
//! let legacy = virtio::pci_legacy(0xc000, [0])?;
//! let wanted = modern.into_iter().chain(legacy).map(|bell| bell.signalling(queue.clone()));
//! set.apply(set.plan(wanted)?)?;
//!
//! vm.guest_write(Bus::Mmio, 0xfe00_b000, &[0, 0]);
//! vm.guest_write(Bus::Pio, 0xc010, &[0, 0]);
//! let stopped = set.stop()?;
//! assert_eq!(stopped.leftovers.len(), 1);
//! assert_eq!(stopped.leftovers[0].kicks.get(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Kicks through configuration space
//!
//! A driver may also kick through the capability VIRTIO_PCI_CAP_PCI_CFG. No ioeventfd matches that;
//! see [Without ioeventfds](super::without_ioeventfds#kicks-through-configuration-space).

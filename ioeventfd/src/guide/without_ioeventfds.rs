// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Without ioeventfds: VMs that have none, and kicks that none can match.
//!
//! Each kick is then an exit to user space. The VMM passes the write to
//! [`on_exit_write`](crate::DoorbellSet::on_exit_write), which finds the queue and signals its
//! notifier. The device code is the same: it reads notifiers.
//!
//! | the case | what the VMM does |
//! |---|---|
//! | the hypervisor has no ioeventfds, or none for some VMs | a port that registers nothing; below |
//! | some kicks cannot be matched (notification data, queues at one address) | finds the queue in the data itself; below |
//! | the guest kicks through configuration space | passes the write to the set; below |
//! | a kick while a BAR moves | passes the write to the set; see [A BAR that moves](super::moving_bar) |
//!
//! KVM matches the writes of SEV-ES and SEV-SNP guests as those of others: the guest reports each
//! write through its GHCB, and KVM searches its I/O bus (`kvm_sev_es_mmio_write`). Other
//! hypervisors may have no ioeventfds for such VMs. Cloud Hypervisor, built for SEV-SNP, signals
//! the eventfds in `write_bar` of its virtio-pci transport.
//!
//! # A port that registers nothing
//!
//! A set registers its doorbells through the trait [`Vm`](crate::Vm). If the VM has no ioeventfds,
//! give the registry a port whose `ioeventfd` succeeds without effect. Conflicts are still found,
//! and `relocate`, `stop` and `start` work as always. Pass *every* write that exits to the set.
//!
//! A port that returns [`Unsupported`](std::io::ErrorKind::Unsupported) does not help here: then
//! [`apply`](crate::DoorbellSet::apply) fails, and the set has no doorbells to match against.
//!
//! ```
//! use std::io;
//! use std::sync::Arc;
//! use ioeventfd::virtio::{self, Notification};
//! use ioeventfd::{AfterExit, DoorbellRegistry, DoorbellSet, IoAddress};
//! use notify_core::{Bus, EventNotifier, Extension, IoEventFdRequest, IrqFdRequest, LineStatus};
//! use notify_core::{MsiMessage, MsiOutcome, Platform, RouteBuffer, RoutingClaim, Vm};
//! use notify_sim::SimVm;
//!
//! /// A VM whose guest's writes all exit to user space.
//! #[derive(Debug)]
//! struct AllExits(Arc<dyn Vm>);
//!
//! impl Vm for AllExits {
//!     fn ioeventfd(&self, _: &IoEventFdRequest<'_>) -> io::Result<()> {
//!         Ok(())
//!     }
//!
//!     // All other methods are forwarded.
//!     fn check_extension(&self, extension: Extension) -> io::Result<u32> {
//!         self.0.check_extension(extension)
//!     }
//! #   fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()> {
//! #       self.0.irqfd(request)
//! #   }
//! #   fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()> {
//! #       self.0.set_gsi_routing(table)
//! #   }
//! #   fn signal_msi(&self, message: &MsiMessage) -> io::Result<MsiOutcome> {
//! #       self.0.signal_msi(message)
//! #   }
//! #   fn irq_line_status(&self, gsi: u32, level: bool) -> io::Result<LineStatus> {
//! #       self.0.irq_line_status(gsi, level)
//! #   }
//! #   fn irq_line(&self, gsi: u32, level: bool) -> io::Result<()> {
//! #       self.0.irq_line(gsi, level)
//! #   }
//! #   fn platform(&self) -> io::Result<Option<Platform>> {
//! #       self.0.platform()
//! #   }
//! #   fn routing_claim(&self) -> Option<&RoutingClaim> {
//! #       self.0.routing_claim()
//! #   }
//! #   fn retire(&self) {
//! #       self.0.retire();
//! #   }
//! }
//!
//! # let vm = Arc::new(SimVm::builder().build());
//! let registry = DoorbellRegistry::new(Arc::new(AllExits(vm.clone())), &[]);
//! let set = DoorbellSet::new(&registry);
//! let queue = Arc::new(EventNotifier::new()?);
//! let bells = virtio::mmio(0xd000_0000, [0], Notification::Index)?;
//! let wanted = bells.into_iter().map(|bell| bell.signalling(queue.clone()));
//! set.apply(set.plan(wanted)?)?;
//!
//! // The kick exits, and the set signals the queue.
//! let kick = vm.guest_write(Bus::Mmio, 0xd000_0050, &[0; 4]);
//! assert_eq!((kick.signalled, kick.exits.len()), (0, 1));
//! let exit = kick.exits[0];
//! let next = set.on_exit_write(IoAddress::Mmio(exit.address), exit.bytes())?;
//! assert_eq!(next, AfterExit::Resume);
//! assert!(queue.consume()?.is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Kicks that no doorbell can match
//!
//! With VIRTIO_F_NOTIFICATION_DATA several queues at one address cannot be distinguished by KVM;
//! the layouts fail with [`Indistinct`](crate::virtio::LayoutError::Indistinct). Register no
//! doorbell there. The write exits, and the queue's index is in its low two bytes:
//!
//! ```
//! # use std::sync::Arc;
//! # use notify_core::EventNotifier;
//! # use notify_sim::SimVm;
//! # let vm = Arc::new(SimVm::builder().build());
//! # let queues = [Arc::new(EventNotifier::new()?), Arc::new(EventNotifier::new()?)];
//! use notify_core::Bus;
//!
//! // Queue 1, position 0x25 in its ring.
//! let kick = vm.guest_write(Bus::Mmio, 0xd000_0050, &0x0025_0001_u32.to_le_bytes());
//! for exit in kick.exits {
//!     let [low, high, ..] = *exit.bytes() else { continue };
//!     let index = u16::from_le_bytes([low, high]);
//!     if let Some(queue) = queues.get(usize::from(index)) {
//!         queue.notify()?;
//!     }
//! }
//! assert!(queues[1].consume()?.is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Kicks through configuration space
//!
//! A driver that cannot map a BAR, such as firmware, may use VIRTIO_PCI_CAP_PCI_CFG (VIRTIO 1.3,
//! 4.1.4.9). It writes `cap.bar`, `cap.offset` and `cap.length`, then the data to `pci_cfg_data`.
//! The device must do the same as for a write to that BAR. KVM does not see that write, so no
//! ioeventfd matches it, even if the doorbell is registered. Pass it to the set as an exit:
//!
//! ```
//! use ioeventfd::{AfterExit, DoorbellSet, Error, IoAddress};
//!
//! /// The driver has written `pci_cfg_data`. `bar` is the base of the BAR that `cap.bar` selects.
//! fn pci_cfg_write(
//!     set: &DoorbellSet,
//!     bar: u64,
//!     (offset, length): (u32, u32),
//!     data: [u8; 4],
//! ) -> Result<AfterExit, Error> {
//!     // All three come from the guest: only lengths of 1, 2 and 4 are allowed.
//!     let bytes = match length {
//!         1 | 2 | 4 => &data[..length as usize],
//!         _ => &[],
//!     };
//!     set.on_exit_write(IoAddress::Mmio(bar.wrapping_add(offset.into())), bytes)
//! }
//! # use std::sync::Arc;
//! # use ioeventfd::{Datamatch, Doorbell, DoorbellRegistry, Width};
//! # use notify_core::EventNotifier;
//! # use notify_sim::SimVm;
//! # let set = DoorbellSet::new(&DoorbellRegistry::new(Arc::new(SimVm::builder().build()), &[]));
//! # let queue = Arc::new(EventNotifier::new()?);
//! # let (at, width) = (IoAddress::Mmio(0xfe00_b004), Datamatch::Width(Width::W2));
//! # set.apply(set.plan([Doorbell::new(1, at, width, queue.clone())])?)?;
//!
//! // cap.offset 0x3004, cap.length 2, and the index 1.
//! let next = pci_cfg_write(&set, 0xfe00_8000, (0x3004, 2), [1, 0, 0, 0])?;
//! assert_eq!(next, AfterExit::Resume);
//! assert!(queue.consume()?.is_some());
//! # let none = pci_cfg_write(&set, 0xfe00_8000, (0x3004, 9), [1, 0, 0, 0])?;
//! # assert_eq!(none, AfterExit::Emulate);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which type for which device.
//!
//! | device | addresses from | registered by |
//! |---|---|---|
//! | one register at a fixed address | [`IoAddress`](crate::IoAddress) | [`IoEventFd`](crate::IoEventFd) |
//! | virtio-mmio | [`virtio::mmio`](crate::virtio::mmio) | [`DoorbellSet`](crate::DoorbellSet); [chapter](super::virtio_mmio) |
//! | virtio-pci, modern | [`virtio::PciModern`](crate::virtio::PciModern) | `DoorbellSet`, one for each device; [chapter](super::virtio_pci) |
//! | virtio-pci, legacy | [`virtio::pci_legacy`](crate::virtio::pci_legacy) | `DoorbellSet` |
//! | virtio-pci, transitional | both | one `DoorbellSet`: a queue has two doorbells, one key and one notifier |
//! | a device of your own | [`Doorbell::new`](crate::Doorbell::new) | `DoorbellSet` |
//! | a queue that vhost serves | as above | `DoorbellSet`, and [`Vrings`](notify_core::vring::Vrings); [chapter](super::vhost) |
//! | a VM without ioeventfds | as above | `DoorbellSet`, over a port that registers nothing; [chapter](super::without_ioeventfds) |
//!
//! # `IoEventFd` or `DoorbellSet`?
//!
//! | | [`IoEventFd`](crate::IoEventFd) | [`DoorbellSet`](crate::DoorbellSet) |
//! |---|---|---|
//! | doorbells | one | all of a device |
//! | conflicts with other doorbells | EEXIST from KVM; overlap is not detected | found before an ioctl, with the address of the other |
//! | conflicts with the irqchip | not detected | found |
//! | moves with a BAR | no | [`relocate`](crate::DoorbellSet::relocate) |
//! | kicks that exit to user space | the VMM matches them | [`on_exit_write`](crate::DoorbellSet::on_exit_write) |
//! | needs | a VM | a [`DoorbellRegistry`](crate::DoorbellRegistry), one for each VM |
//!
//! # Which `Datamatch`?
//!
//! | the guest writes | doorbell |
//! |---|---|
//! | 2 bytes of any value, at an address of its own | `Datamatch::Width(Width::W2)` |
//! | 2 bytes, and the value selects the queue | `Datamatch::U16(value)` |
//! | 4 bytes, and the value selects the queue | `Datamatch::U32(value)` |
//! | 4 bytes of unknown value (notification data) | `Datamatch::Width(Width::W4)` |
//! | writes of any width, or the VM supports no others | `Datamatch::AnyWrite` |
//!
//! [`Datamatch::new`](crate::Datamatch::new) takes the length and value of `struct kvm_ioeventfd`.
//! The layouts in [`virtio`](crate::virtio) choose the datamatch themselves.
//!
//! # A register of your own
//!
//! ```
//! use std::sync::Arc;
//! use ioeventfd::{Datamatch, IoAddress, IoEventFd};
//! use notify_core::Bus;
//! use notify_sim::SimVm;
//!
//! let vm = Arc::new(SimVm::builder().build());
//! // A byte of 0xfe to port 0x64 resets the PC.
//! let reset = IoEventFd::builder(vm.clone(), IoAddress::Pio(0x64), Datamatch::U8(0xfe)).assign()?;
//!
//! assert_eq!(vm.guest_write(Bus::Pio, 0x64, &[0xfe]).signalled, 1);
//! assert_eq!(vm.guest_write(Bus::Pio, 0x64, &[0xd1]).exits.len(), 1); // another command
//! assert!(reset.notifier().consume()?.is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Where the queues of a virtio device have their doorbells.
//!
//! | transport | address | a kick is | told apart by |
//! |---|---|---|---|
//! | [`PciModern`] | BAR + `cap.offset` + `queue_notify_off` * multiplier | 2 bytes, the index | address |
//! | the same, address shared or multiplier 0 | | 2 bytes, the queue's index | value |
//! | [`pci_legacy`] | BAR 0 (ports) + 0x10 | 2 bytes, the queue's index | value |
//! | [`mmio`] | base + 0x50 | 4 bytes, the queue's index | value |
//!
//! With VIRTIO_F_NOTIFICATION_DATA ([`Notification::Data`]) a kick is 4 bytes that also say how far
//! the ring is, so that no value can be matched: PCI queues then need an address each, and MMIO
//! queues are beyond KVM's matching, but for a device with a single one.
//!
//! A driver that has negotiated VIRTIO_F_NOTIF_CONFIG_DATA writes a value that the device gave it
//! in place of the index: the field [`PciQueue::value`].
//!
//! The VMM names the queues that the driver has enabled, by index. They need not begin at 0 or be
//! without gaps: administration queues lie beyond `num_queues`.
//!
//! Virtual I/O Device (VIRTIO) 1.3, sections 4.1.4.4, 4.1.4.10, 4.1.5.2 and 4.2.2. The channels of
//! s390x (CCW) are left out.

mod error;
mod mmio;
mod pci_legacy;
mod pci_modern;

use std::collections::BTreeSet;
use std::sync::Arc;

use notify_core::EventNotifier;

pub use error::LayoutError;
pub use mmio::mmio;
pub use pci_legacy::pci_legacy;
pub use pci_modern::{NotifyCapability, PciModern, PciQueue};

use crate::{Datamatch, Doorbell, IoAddress};

/// What a driver writes to kick a queue, by what it has negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Notification {
    /// The queue's index.
    Index,
    /// VIRTIO_F_NOTIFICATION_DATA: the queue's index in the low half of 4 bytes, and how far the
    /// driver's ring is in the high half.
    Data,
}

/// The doorbell of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct QueueDoorbell {
    /// The queue's index.
    pub queue: u16,
    /// Where it lies.
    pub address: IoAddress,
    /// Which writes ring it.
    pub datamatch: Datamatch,
}

impl QueueDoorbell {
    /// The doorbell, keyed by its queue.
    #[must_use]
    pub fn signalling(self, notifier: Arc<EventNotifier>) -> Doorbell {
        Doorbell::new(self.queue.into(), self.address, self.datamatch, notifier)
    }
}

/// Queues of which none may be named twice.
fn distinct(queues: impl IntoIterator<Item = u16>) -> Result<Vec<u16>, LayoutError> {
    let queues: Vec<_> = queues.into_iter().collect();
    let mut named = BTreeSet::new();
    match queues.iter().find(|queue| !named.insert(**queue)) {
        Some(&queue) => Err(LayoutError::NamedTwice { queue }),
        None => Ok(queues),
    }
}

/// An address within a device that lies at `base`.
fn within(base: IoAddress, offset: u64) -> Result<IoAddress, LayoutError> {
    let origin = match base {
        IoAddress::Mmio(_) => IoAddress::Mmio(0),
        IoAddress::Pio(_) => IoAddress::Pio(0),
    };
    let at = match base {
        IoAddress::Mmio(_) => Some(IoAddress::Mmio(offset)),
        IoAddress::Pio(_) => u16::try_from(offset).ok().map(IoAddress::Pio),
    };
    at.and_then(|at| at.moved(origin, base))
        .ok_or(LayoutError::AddressSpace { base })
}

/// A place of so many bytes that a guest can write.
fn writable(base: IoAddress, address: IoAddress, bytes: u32) -> Result<IoAddress, LayoutError> {
    if address.takes(bytes) {
        Ok(address)
    } else {
        Err(LayoutError::AddressSpace { base })
    }
}

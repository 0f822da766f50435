// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Where the queues of a virtio device have their doorbells.
//!
//! | transport | address | a kick is | distinguished by |
//! |---|---|---|---|
//! | [`PciModern`] | BAR + `cap.offset` + `queue_notify_off` * multiplier | 2 bytes, the index | address |
//! | the same, address shared or multiplier 0 | | 2 bytes, the queue's index | value |
//! | [`pci_legacy`] | BAR 0 (ports) + 0x10 | 2 bytes, the queue's index | value |
//! | [`mmio`] | base + 0x50 | 4 bytes, the queue's index | value |
//!
//! With VIRTIO_F_NOTIFICATION_DATA ([`Notification::Data`]) a kick is 4 bytes that also contain the
//! driver's position in the ring, so no value can be matched. PCI queues then need an address each.
//! MMIO queues share one address, so KVM can match them only if the device has a single queue.
//!
//! With VIRTIO_F_NOTIF_CONFIG_DATA the driver writes a value that the device chose instead of the
//! index: the field [`PciQueue::value`].
//!
//! The VMM passes the indices of the queues that the driver has enabled. They need not begin at 0,
//! and may have gaps: administration queues lie beyond `num_queues`.
//!
//! The chapters [`virtio_mmio`](crate::guide::virtio_mmio) and
//! [`virtio_pci`](crate::guide::virtio_pci) of the guide show whole devices.
//!
//! VIRTIO 1.3, 4.1.4.4, 4.1.4.10, 4.1.5.2 and 4.2.2. The channels of s390x (CCW) are not supported.

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

/// What a driver writes to kick a queue. It depends on the negotiated features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Notification {
    /// The queue's index.
    Index,
    /// VIRTIO_F_NOTIFICATION_DATA: 4 bytes, with the queue's index in the low half and the driver's
    /// position in the ring in the high half.
    Data,
}

/// Where a queue has its doorbell, and which writes ring it.
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
    /// Returns a [`Doorbell`] for a set that signals this notifier; its key is the queue's index.
    #[must_use]
    pub fn signalling(self, notifier: Arc<EventNotifier>) -> Doorbell {
        Doorbell::new(self.queue.into(), self.address, self.datamatch, notifier)
    }
}

/// The queues, or an error if one of them occurs twice.
fn distinct(queues: impl IntoIterator<Item = u16>) -> Result<Vec<u16>, LayoutError> {
    let queues: Vec<_> = queues.into_iter().collect();
    let mut named = BTreeSet::new();
    match queues.iter().find(|queue| !named.insert(**queue)) {
        Some(&queue) => Err(LayoutError::NamedTwice { queue }),
        None => Ok(queues),
    }
}

/// The address at an offset within a device at `base`.
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

/// The address, if a guest can write so many bytes there.
fn writable(base: IoAddress, address: IoAddress, bytes: u32) -> Result<IoAddress, LayoutError> {
    if address.takes(bytes) {
        Ok(address)
    } else {
        Err(LayoutError::AddressSpace { base })
    }
}

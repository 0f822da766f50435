// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Doorbells of virtio MMIO devices.

use super::{LayoutError, Notification, QueueDoorbell, distinct, within, writable};
use crate::{Datamatch, IoAddress, Width};

/// The offset of the register QueueNotify.
const QUEUE_NOTIFY: u64 = 0x50;

/// Returns the doorbells of these queues of a virtio-mmio device.
///
/// `queues` has the indices of the queues that are ready. All doorbells are at the register
/// QueueNotify (offset 0x50). They are distinguished by the index that the driver writes.
///
/// VIRTIO 1.3, 4.2.2.
///
/// # Errors
///
/// [`LayoutError::MisalignedBase`], [`LayoutError::AddressSpace`], [`LayoutError::NamedTwice`].
/// [`LayoutError::Indistinct`] for more than one queue with notification data: then handle the
/// kicks as [exits](crate::guide::without_ioeventfds).
///
/// ```
/// use ioeventfd::virtio::{self, Notification};
/// use ioeventfd::{Datamatch, IoAddress};
///
/// let bells = virtio::mmio(0xd000_0000, [0, 1], Notification::Index)?;
/// assert_eq!(bells[1].address, IoAddress::Mmio(0xd000_0050));
/// assert_eq!(bells[1].datamatch, Datamatch::U32(1));
/// # Ok::<(), virtio::LayoutError>(())
/// ```
pub fn mmio(
    base: u64,
    queues: impl IntoIterator<Item = u16>,
    notification: Notification,
) -> Result<Vec<QueueDoorbell>, LayoutError> {
    let (aligned, base) = (base.is_multiple_of(4), IoAddress::Mmio(base));
    if !aligned {
        return Err(LayoutError::MisalignedBase { base, bytes: 4 });
    }
    let address = writable(base, within(base, QUEUE_NOTIFY)?, 4)?;
    let doorbell = |queue| QueueDoorbell {
        queue,
        address,
        datamatch: match notification {
            Notification::Index => Datamatch::U32(u32::from(queue).to_le()),
            Notification::Data => Datamatch::Width(Width::W4),
        },
    };
    let doorbells: Vec<_> = distinct(queues)?.into_iter().map(doorbell).collect();
    if notification == Notification::Data && doorbells.len() > 1 {
        return Err(LayoutError::Indistinct);
    }
    Ok(doorbells)
}

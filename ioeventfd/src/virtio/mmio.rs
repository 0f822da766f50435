// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Doorbells of virtio MMIO devices.

use super::{LayoutError, Notification, QueueDoorbell, within, writable};
use crate::{Datamatch, IoAddress, Width};

/// The offset of the register QueueNotify.
const QUEUE_NOTIFY: u64 = 0x50;

/// The doorbells of an MMIO device at this address: one register for all queues, told apart by the
/// index that the driver writes.
///
/// Virtual I/O Device (VIRTIO) 1.3, section 4.2.2.
///
/// # Errors
///
/// [`LayoutError::Misaligned`], [`LayoutError::AddressSpace`]; [`LayoutError::Indistinct`] for more
/// than one queue with notification data, whose writes the VMM has to take apart itself.
///
/// ```
/// use ioeventfd::virtio::{self, Notification};
/// use ioeventfd::{Datamatch, IoAddress};
///
/// let bells = virtio::mmio(0xd000_0000, 2, Notification::Index)?;
/// assert_eq!(bells[1].address, IoAddress::Mmio(0xd000_0050));
/// assert_eq!(bells[1].datamatch, Datamatch::U32(1));
/// # Ok::<(), virtio::LayoutError>(())
/// ```
pub fn mmio(
    base: u64,
    queues: u16,
    notification: Notification,
) -> Result<Vec<QueueDoorbell>, LayoutError> {
    if !base.is_multiple_of(4) {
        let (address, bytes) = (base, 4);
        return Err(LayoutError::Misaligned { address, bytes });
    }
    if notification == Notification::Data && queues > 1 {
        return Err(LayoutError::Indistinct);
    }
    let base = IoAddress::Mmio(base);
    let address = writable(base, within(base, QUEUE_NOTIFY)?, 4)?;
    let doorbell = |queue| QueueDoorbell {
        queue,
        address,
        datamatch: match notification {
            Notification::Index => Datamatch::U32(u32::from(queue).to_le()),
            Notification::Data => Datamatch::Width(Width::W4),
        },
    };
    Ok((0..queues).map(doorbell).collect())
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Doorbells of legacy virtio PCI devices, and of transitional ones under a legacy driver.

use super::{LayoutError, QueueDoorbell, within, writable};
use crate::{Datamatch, IoAddress};

/// Where in BAR 0 the register "Queue Notify" is.
const QUEUE_NOTIFY: u64 = 0x10;

/// The doorbells of a legacy device with its BAR 0 at this port: one for all queues, told apart by
/// the index that the driver writes. A legacy driver does not negotiate notification data.
///
/// Virtual I/O Device (VIRTIO) 1.3, section 4.1.4.10.
///
/// # Errors
///
/// [`LayoutError::AddressSpace`].
///
/// ```
/// use ioeventfd::{Datamatch, IoAddress, virtio};
///
/// let bells = virtio::pci_legacy(0xc000, 2)?;
/// assert_eq!(bells[1].address, IoAddress::Pio(0xc010));
/// assert_eq!(bells[1].datamatch, Datamatch::U16(1));
/// # Ok::<(), virtio::LayoutError>(())
/// ```
pub fn pci_legacy(bar: u16, queues: u16) -> Result<Vec<QueueDoorbell>, LayoutError> {
    let base = IoAddress::Pio(bar);
    let address = writable(base, within(base, QUEUE_NOTIFY)?, 2)?;
    let doorbell = |queue| QueueDoorbell {
        queue,
        address,
        // In the guest's own byte order, as everything legacy.
        datamatch: Datamatch::U16(queue),
    };
    Ok((0..queues).map(doorbell).collect())
}

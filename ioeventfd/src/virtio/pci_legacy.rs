// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Doorbells of legacy virtio PCI devices, and of transitional ones under a legacy driver.

use super::{LayoutError, QueueDoorbell, distinct, within, writable};
use crate::{Datamatch, IoAddress};

/// Where in BAR 0 the register "Queue Notify" is.
const QUEUE_NOTIFY: u64 = 0x10;

/// Returns the doorbells of these queues of a legacy virtio-pci device with BAR 0 at this port.
///
/// `queues` has the indices of the queues. All doorbells are at the register "Queue Notify" (offset
/// 0x10). They are distinguished by the index that the driver writes. A legacy driver does not
/// negotiate notification data.
///
/// VIRTIO 1.3, 4.1.4.10.
///
/// # Errors
///
/// [`LayoutError::AddressSpace`], [`LayoutError::NamedTwice`].
///
/// ```
/// use ioeventfd::{Datamatch, IoAddress, virtio};
///
/// let bells = virtio::pci_legacy(0xc000, [0, 1])?;
/// assert_eq!(bells[1].address, IoAddress::Pio(0xc010));
/// assert_eq!(bells[1].datamatch, Datamatch::U16(1));
/// # Ok::<(), virtio::LayoutError>(())
/// ```
pub fn pci_legacy(
    bar: u16,
    queues: impl IntoIterator<Item = u16>,
) -> Result<Vec<QueueDoorbell>, LayoutError> {
    let base = IoAddress::Pio(bar);
    let address = writable(base, within(base, QUEUE_NOTIFY)?, 2)?;
    let doorbell = |queue| QueueDoorbell {
        queue,
        address,
        // Legacy registers have the guest's byte order.
        datamatch: Datamatch::U16(queue),
    };
    Ok(distinct(queues)?.into_iter().map(doorbell).collect())
}

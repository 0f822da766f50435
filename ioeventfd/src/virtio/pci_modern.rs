// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`PciModern`]: doorbells in a BAR, where the notify capability says.

use std::collections::BTreeMap;

use super::{LayoutError, Notification, QueueDoorbell, within, writable};
use crate::{Datamatch, IoAddress, Width};

/// The fields of a VIRTIO_PCI_CAP_NOTIFY_CFG capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotifyCapability {
    /// `cap.offset`: where in its BAR the region begins.
    pub offset: u32,
    /// `cap.length`: how long the region is, in bytes.
    pub length: u32,
    /// `notify_off_multiplier`: how far apart doorbells are. 0: all queues have the same.
    pub multiplier: u32,
}

/// The notify region of a virtio PCI device, checked.
///
/// Which address a queue has is what a driver computes from the capability (Linux:
/// `vp_modern_map_vq_notify` in `drivers/virtio/virtio_pci_modern_dev.c`). What section 4.1.4.4.1 asks
/// of a device is checked, so that the capability may come from a process that is not trusted.
///
/// ```
/// use ioeventfd::virtio::{NotifyCapability, Notification, PciModern};
/// use ioeventfd::{Datamatch, IoAddress, Width};
///
/// // QEMU's: BAR 4 has 16 KiB, the last 4 of them for kicks, four bytes for each queue.
/// let capability = NotifyCapability { offset: 0x3000, length: 0x1000, multiplier: 4 };
/// let layout = PciModern::new(capability, 0x4000, Notification::Index)?;
/// let bells = layout.doorbells(IoAddress::Mmio(0xfe00_8000), &[0, 1])?;
/// assert_eq!(bells[1].address, IoAddress::Mmio(0xfe00_b004));
/// assert_eq!(bells[1].datamatch, Datamatch::Width(Width::W2));
/// # Ok::<(), ioeventfd::virtio::LayoutError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PciModern {
    capability: NotifyCapability,
    bar_size: u64,
    notification: Notification,
}

impl PciModern {
    /// The region that a capability describes, in a BAR of so many bytes.
    ///
    /// # Errors
    ///
    /// [`LayoutError::TooShort`], [`LayoutError::Misaligned`], [`LayoutError::Multiplier`],
    /// [`LayoutError::OutsideBar`].
    pub fn new(
        capability: NotifyCapability,
        bar_size: u64,
        notification: Notification,
    ) -> Result<Self, LayoutError> {
        let NotifyCapability {
            offset,
            length,
            multiplier,
        } = capability;
        let layout = Self {
            capability,
            bar_size,
            notification,
        };
        let bytes = layout.bytes();
        if length < bytes {
            return Err(LayoutError::TooShort { length, bytes });
        }
        if !offset.is_multiple_of(bytes) {
            let address = offset.into();
            return Err(LayoutError::Misaligned { address, bytes });
        }
        if multiplier != 0 && !(multiplier.is_power_of_two() && multiplier >= bytes) {
            return Err(LayoutError::Multiplier { multiplier, bytes });
        }
        if u64::from(offset) + u64::from(length) > bar_size {
            return Err(LayoutError::OutsideBar {
                offset,
                length,
                bar_size,
            });
        }
        Ok(layout)
    }

    /// The doorbells of all queues, with the BAR at `bar`. Each queue's `queue_notify_off` stands at
    /// its index.
    ///
    /// # Errors
    ///
    /// [`LayoutError::OutsideRegion`], [`LayoutError::Overlap`], [`LayoutError::Indistinct`],
    /// [`LayoutError::TooManyQueues`], [`LayoutError::Misaligned`] and [`LayoutError::AddressSpace`]
    /// for the BAR.
    pub fn doorbells(
        &self,
        bar: IoAddress,
        queue_notify_offs: &[u16],
    ) -> Result<Vec<QueueDoorbell>, LayoutError> {
        let bytes = self.bytes();
        if !bar.number().is_multiple_of(bytes.into()) {
            let address = bar.number();
            return Err(LayoutError::Misaligned { address, bytes });
        }
        // All of the BAR lies in the address space, and with it every doorbell.
        within(bar, self.bar_size.saturating_sub(1))?;
        let queues = queue_notify_offs.len();
        if self.capability.multiplier == 0 && self.notification == Notification::Data && queues > 1
        {
            return Err(LayoutError::Indistinct);
        }
        let mut taken = BTreeMap::new();
        let mut doorbells = Vec::with_capacity(queues);
        for (index, notify_off) in queue_notify_offs.iter().enumerate() {
            let queue = u16::try_from(index).map_err(|_| LayoutError::TooManyQueues { queues })?;
            let offset = self.offset(queue, *notify_off)?;
            if self.capability.multiplier != 0
                && let Some(other) = taken.insert(offset, queue)
            {
                return Err(LayoutError::Overlap { queue, other });
            }
            let address = within(bar, u64::from(self.capability.offset) + offset)?;
            doorbells.push(QueueDoorbell {
                queue,
                address: writable(bar, address, bytes)?,
                datamatch: self.datamatch(queue),
            });
        }
        Ok(doorbells)
    }

    /// How far into the region a queue has its doorbell.
    fn offset(&self, queue: u16, notify_off: u16) -> Result<u64, LayoutError> {
        let length = self.capability.length;
        let offset = u64::from(notify_off) * u64::from(self.capability.multiplier);
        if offset + u64::from(self.bytes()) > length.into() {
            return Err(LayoutError::OutsideRegion {
                queue,
                offset,
                length,
            });
        }
        Ok(offset)
    }

    fn datamatch(&self, queue: u16) -> Datamatch {
        match (self.notification, self.capability.multiplier) {
            (Notification::Data, _) => Datamatch::Width(Width::W4),
            // Little-endian on the wire, in the host's order for KVM.
            (Notification::Index, 0) => Datamatch::U16(queue.to_le()),
            (Notification::Index, _) => Datamatch::Width(Width::W2),
        }
    }

    /// How many bytes a kick has.
    fn bytes(&self) -> u32 {
        match self.notification {
            Notification::Index => 2,
            Notification::Data => 4,
        }
    }
}

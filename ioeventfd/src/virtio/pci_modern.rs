// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`PciModern`]: doorbells in a BAR, at the addresses that the notify capability determines.

use std::collections::BTreeMap;
use std::io;

use notify_core::{Extension, Vm};

use super::{LayoutError, Notification, QueueDoorbell, distinct, within, writable};
use crate::{Datamatch, IoAddress, Width};

/// The fields of a VIRTIO_PCI_CAP_NOTIFY_CFG capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NotifyCapability {
    /// `cap.offset`: where in its BAR the region begins, in bytes.
    pub offset: u32,
    /// `cap.length`: how long the region is, in bytes.
    pub length: u32,
    /// `notify_off_multiplier`: how far apart the doorbells are, in bytes. 0: all queues have the
    /// same address.
    pub multiplier: u32,
}

/// The notify region of a modern virtio-pci device, checked.
///
/// It computes the address of a queue's doorbell as a driver does (Linux: `vp_modern_map_vq_notify`
/// in `drivers/virtio/virtio_pci_modern_dev.c`). It checks the requirements of VIRTIO 1.3,
/// 4.1.4.4.1, so the capability may come from an untrusted process.
///
/// ```
/// use ioeventfd::virtio::{NotifyCapability, Notification, PciModern, PciQueue};
/// use ioeventfd::{Datamatch, IoAddress, Width};
///
/// // As QEMU: BAR 4 has 16 KiB. The last 4 KiB are for kicks, four bytes for each queue.
/// let capability = NotifyCapability { offset: 0x3000, length: 0x1000, multiplier: 4 };
/// let layout = PciModern::new(capability, 0x4000, Notification::Index)?;
/// let queues = [PciQueue::new(0, 0), PciQueue::new(1, 1)];
/// let bells = layout.doorbells(IoAddress::Mmio(0xfe00_8000), queues)?;
/// assert_eq!(bells[1].address, IoAddress::Mmio(0xfe00_b004));
/// assert_eq!(bells[1].datamatch, Datamatch::Width(Width::W2));
/// # Ok::<(), ioeventfd::virtio::LayoutError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PciModern {
    capability: NotifyCapability,
    bar_size: u64,
    notification: Notification,
    any_width: bool,
}

/// An enabled queue of a virtio-pci device, from its common configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PciQueue {
    /// The queue's index.
    pub index: u16,
    /// `queue_notify_off`. Several queues may have the same one.
    pub notify_off: u16,
    /// What the driver writes to kick the queue: its index; with VIRTIO_F_NOTIF_CONFIG_DATA
    /// `queue_notif_config_data`.
    pub value: u16,
}

impl PciQueue {
    /// Creates a queue whose driver writes the queue's index.
    #[must_use]
    pub const fn new(index: u16, notify_off: u16) -> Self {
        let value = index;
        Self {
            index,
            notify_off,
            value,
        }
    }
}

impl PciModern {
    /// Creates the layout from a capability and the size of its BAR in bytes.
    ///
    /// # Errors
    ///
    /// [`LayoutError::TooShort`], [`LayoutError::MisalignedOffset`], [`LayoutError::Multiplier`],
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
            any_width: false,
        };
        let bytes = layout.bytes();
        if length < bytes {
            return Err(LayoutError::TooShort { length, bytes });
        }
        if !offset.is_multiple_of(bytes) {
            return Err(LayoutError::MisalignedOffset { offset, bytes });
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

    /// Makes doorbells ring for writes of any width, for queues that have an address of their own.
    ///
    /// Advantages: KVM matches such doorbells without decoding the guest's instruction, where the
    /// processor allows it (fast MMIO path). And some hypervisors support no others.
    ///
    /// Disadvantages: a write of the wrong width rings too, and on the fast path a *read* may ring.
    /// A spurious kick is harmless in VIRTIO. No doorbell with a width may end where such a
    /// doorbell begins, so a guest that places two BARs side by side can cause
    /// [`Conflict::Adjacent`](crate::Conflict::Adjacent).
    ///
    /// It has no effect where KVM has no fast path (KVM_CAP_IOEVENTFD_NO_LENGTH is 0: arm64,
    /// riscv64), and none if two of the queues share an address, because then the value must be
    /// matched.
    ///
    /// # Errors
    ///
    /// Those of KVM_CHECK_EXTENSION.
    pub fn any_width(mut self, vm: &dyn Vm) -> io::Result<Self> {
        self.any_width = vm.check_extension(Extension::IoEventFdAnyLength)? > 0
            && vm.check_extension(Extension::IoEventFdNoLength)? > 0;
        Ok(self)
    }

    /// Returns the doorbells of these queues, in their order, with the BAR at `bar`.
    ///
    /// Pass only queues that are enabled. Indices may have gaps, as with administration queues.
    /// Queues at one address are distinguished by the value that the driver writes.
    ///
    /// # Errors
    ///
    /// - [`LayoutError::OutsideRegion`], [`LayoutError::NamedTwice`].
    /// - [`LayoutError::Overlap`]: two queues have the same address and value.
    /// - [`LayoutError::Indistinct`]: two queues share an address, with notification data.
    /// - [`LayoutError::MisalignedBase`] and [`LayoutError::AddressSpace`]: the BAR is misplaced.
    pub fn doorbells(
        &self,
        bar: IoAddress,
        queues: impl IntoIterator<Item = PciQueue>,
    ) -> Result<Vec<QueueDoorbell>, LayoutError> {
        let bytes = self.bytes();
        if !bar.number().is_multiple_of(bytes.into()) {
            return Err(LayoutError::MisalignedBase { base: bar, bytes });
        }
        // If the whole BAR lies in the address space, so does every doorbell.
        within(bar, self.bar_size.saturating_sub(1))?;
        let with_offset = |queue: PciQueue| Ok((queue, self.offset(queue)?));
        let queues: Vec<(PciQueue, u64)> = queues
            .into_iter()
            .map(with_offset)
            .collect::<Result<_, _>>()?;
        distinct(queues.iter().map(|(queue, _)| queue.index))?;
        // The values of each address, and the queue of each value.
        let mut taken: BTreeMap<u64, BTreeMap<u16, u16>> = BTreeMap::new();
        for (PciQueue { index, value, .. }, offset) in &queues {
            let values = taken.entry(*offset).or_default();
            if let Some(other) = values.insert(*value, *index) {
                let (queue, other) = (*index, other);
                return Err(LayoutError::Overlap { queue, other });
            }
        }
        let is_shared = |offset: &u64| taken.get(offset).is_some_and(|values| values.len() > 1);
        let any_is_shared = taken.keys().any(is_shared);
        if any_is_shared && self.notification == Notification::Data {
            return Err(LayoutError::Indistinct);
        }
        let any_width = self.any_width && !any_is_shared;
        let doorbell = |(queue, offset): &(PciQueue, u64)| {
            let address = within(bar, u64::from(self.capability.offset) + offset)?;
            let own_address = self.capability.multiplier != 0 && !is_shared(offset);
            Ok(QueueDoorbell {
                queue: queue.index,
                address: writable(bar, address, bytes)?,
                datamatch: match self.notification {
                    _ if any_width && own_address => Datamatch::AnyWrite,
                    Notification::Data => Datamatch::Width(Width::W4),
                    Notification::Index if own_address => Datamatch::Width(Width::W2),
                    // Little-endian on the wire, in the host's order for KVM.
                    Notification::Index => Datamatch::U16(queue.value.to_le()),
                },
            })
        };
        queues.iter().map(doorbell).collect()
    }

    /// The offset of a queue's doorbell in the region.
    fn offset(&self, queue: PciQueue) -> Result<u64, LayoutError> {
        let length = self.capability.length;
        let offset = u64::from(queue.notify_off) * u64::from(self.capability.multiplier);
        if offset + u64::from(self.bytes()) > length.into() {
            return Err(LayoutError::OutsideRegion {
                queue: queue.index,
                offset,
                length,
            });
        }
        Ok(offset)
    }

    /// How many bytes a kick has.
    fn bytes(&self) -> u32 {
        match self.notification {
            Notification::Index => 2,
            Notification::Data => 4,
        }
    }
}

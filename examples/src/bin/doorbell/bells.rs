// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The doorbells: four of each kind that a virtio transport uses, for each of two queues.

use ioeventfd::{Datamatch, IoAddress, Width};

/// Where the guest's address space has room for a device.
const DEVICE: u64 = 0xd000_0000;
const PORTS: u16 = 0x1000;

/// One doorbell, and what the guest writes to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bell {
    pub(crate) queue: usize,
    pub(crate) address: IoAddress,
    pub(crate) datamatch: Datamatch,
    pub(crate) width: Width,
    pub(crate) value: u16,
}

impl Bell {
    /// What the guest writes.
    pub(crate) fn bytes(&self) -> [u8; 4] {
        u32::from(self.value).to_le_bytes()
    }

    /// Whether a write that exited was meant for this doorbell.
    pub(crate) fn rings(&self, address: IoAddress, data: &[u8]) -> bool {
        let width = self.width as usize;
        self.address == address && self.bytes().get(..width) == Some(data)
    }
}

/// The number of queues.
pub(crate) const QUEUES: usize = 2;
/// The number of doorbells.
pub(crate) const BELLS: usize = 4 * QUEUES;

/// All doorbells, in the order in which the guest rings them.
pub(crate) fn all() -> [Bell; BELLS] {
    let bell = |queue: u16, address, datamatch, width| Bell {
        queue: queue.into(),
        address,
        datamatch,
        width,
        value: queue,
    };
    let of_queue = |queue: u16| {
        let own_address = IoAddress::Mmio(DEVICE + 0x1000 + u64::from(queue) * 4);
        let (w1, w2, w4) = (Width::W1, Width::W2, Width::W4);
        [
            // As virtio-pci with one notify address for all queues.
            bell(queue, IoAddress::Mmio(DEVICE), Datamatch::U16(queue), w2),
            // As virtio-pci with a notify address for each queue.
            bell(queue, own_address, Datamatch::Width(w4), w4),
            // As legacy virtio-pci.
            bell(
                queue,
                IoAddress::Pio(PORTS + 0x10),
                Datamatch::U16(queue),
                w2,
            ),
            bell(
                queue,
                IoAddress::Pio(PORTS + 0x20 + queue),
                Datamatch::Width(w1),
                w1,
            ),
        ]
    };
    let ([a, b, c, d], [e, f, g, h]) = (of_queue(0), of_queue(1));
    [a, e, b, f, c, g, d, h]
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The registers of the device: a small part of those of virtio-pci, at fixed addresses.

use tiny_guest::layout::DOORBELL;

use crate::guest::QUEUES;

/// The two places of the BAR with the notify addresses. It starts at the first one.
pub const PLACES: [u64; 2] = [DOORBELL, DOORBELL + 0x1_0000];
/// Bytes of that BAR.
pub const PLACE: u64 = 0x1000;
/// Bytes between the notify addresses of two queues. The guest stores the number of the queue, in 2
/// bytes.
pub const NOTIFY: u64 = 4;

/// The MSI-X table.
pub const TABLE: u64 = DOORBELL + 0x2_0000;
/// How many entries it has: two for each queue.
pub const ENTRIES: u16 = 2 * QUEUES as u16;
/// Bytes of an entry.
pub const ENTRY: u64 = 16;
/// The offset of the message's data in an entry.
pub const DATA: u64 = 8;
/// The offset of the mask bit in an entry.
pub const MASK: u64 = 12;

/// The other registers.
pub const CONTROL: u64 = DOORBELL + 0x3_0000;
/// By queue, in 2 bytes: the entry that it uses, or NO_VECTOR.
pub const QUEUE_VECTOR: u64 = CONTROL;
/// In 2 bytes: the place of the BAR, 0 or 1.
pub const BAR: u64 = CONTROL + 0x10;
/// In 2 bytes: 0 stops the device, which touches no ring after the write has completed. 1 starts it
/// on the rings as they are in RAM.
pub const STATUS: u64 = CONTROL + 0x12;
/// Makes the VMM move the guest to another VM; any 2 bytes.
pub const SUSPEND: u64 = CONTROL + 0x14;

/// The interrupt that an entry of the table sends with the first or the second of its messages.
#[must_use]
pub const fn interrupt(entry: u16, message: u8) -> u8 {
    0x40 + 2 * entry as u8 + message
}

/// The offset of an address in the MSI-X table, if it is in it.
#[must_use]
pub fn table_offset(address: u64) -> Option<u64> {
    let offset = address.checked_sub(TABLE)?;
    (offset < u64::from(ENTRIES) * ENTRY).then_some(offset)
}

/// What the guest wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// To the MSI-X table, at this offset.
    Table(u64),
    /// The entry that a queue uses.
    QueueVector(usize, u16),
    /// The place of the BAR.
    Bar(u16),
    /// Stops the device.
    Stop,
    /// Starts the device.
    Start,
    /// Moves the guest to another VM.
    Suspend,
    /// A kick that KVM has not taken.
    Kick,
}

impl Write {
    /// The meaning of a write; `None` if there is no register.
    #[must_use]
    pub fn decode(address: u64, data: &[u8]) -> Option<Self> {
        if let Some(offset) = table_offset(address) {
            return Some(Self::Table(offset));
        }
        if PLACES
            .iter()
            .any(|place| (*place..place + PLACE).contains(&address))
        {
            return Some(Self::Kick);
        }
        let value = u16::from_le_bytes(<[u8; 2]>::try_from(data).ok()?);
        match (address, value) {
            (BAR, _) => Some(Self::Bar(value)),
            (STATUS, 0) => Some(Self::Stop),
            (STATUS, 1) => Some(Self::Start),
            (SUSPEND, _) => Some(Self::Suspend),
            _ => {
                let queue = usize::try_from(address.checked_sub(QUEUE_VECTOR)? / 2).ok()?;
                (queue < QUEUES).then_some(Self::QueueVector(queue, value))
            }
        }
    }
}

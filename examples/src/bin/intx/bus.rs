// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Bus`]: dispatches the guest's accesses that exit.

use crate::board::Board;
use crate::device::Own;
use crate::layout::{IOAPIC, IOAPIC_END, PLAIN, TOLD, acknowledge};

#[derive(Clone, Copy)]
pub(crate) struct Bus<'a> {
    pub(crate) board: &'a Board,
    pub(crate) plain: &'a Own<'a>,
    pub(crate) told: &'a Own<'a>,
}

impl Bus<'_> {
    pub(crate) fn write(&self, address: u64, data: &[u8]) -> Result<(), String> {
        const OF_PLAIN: u64 = acknowledge(PLAIN);
        const OF_TOLD: u64 = acknowledge(TOLD);
        match (address, <[u8; 8]>::try_from(data).map(u64::from_le_bytes)) {
            (OF_PLAIN, Ok(number)) => self.plain.acknowledge(number),
            (OF_TOLD, Ok(number)) => self.told.acknowledge(number),
            (IOAPIC..IOAPIC_END, _) => self.board.ioapic_write(address - IOAPIC, data),
            _ => Err(format!("a write to {address:#x}, where no device is")),
        }
    }

    pub(crate) fn read(&self, address: u64, data: &mut [u8]) {
        match address {
            IOAPIC..IOAPIC_END => self.board.ioapic_read(address - IOAPIC, data),
            _ => data.fill(0xff),
        }
    }
}

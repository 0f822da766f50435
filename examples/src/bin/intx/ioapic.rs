// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`IoApic`]: the registers of an IOAPIC, for a VM whose kernel part has none.
//!
//! The lines implement the pins: each entry that the guest writes becomes the message that a line
//! sends, and its mask.

use irq_routing::MsiMessage;

use crate::layout::{LEVEL, MASKED};

const PINS: usize = 24;

/// Offsets of the index and the data register.
const SELECT: u64 = 0;
const WINDOW: u64 = 0x10;
/// The version of the 82093AA, and the number of its highest pin.
const VERSION: u32 = 0x11 | (PINS as u32 - 1) << 16;
/// The register where the entries begin, two registers each.
const REDIRECTION: u32 = 0x10;

#[derive(Debug)]
pub(crate) struct IoApic {
    select: u32,
    entries: [u64; PINS],
}

/// The new message of a pin and its mask.
#[derive(Debug, PartialEq)]
pub(crate) struct Redirection {
    pub(crate) pin: u32,
    pub(crate) message: MsiMessage,
    pub(crate) masked: bool,
}

impl IoApic {
    /// As after a reset: every pin is masked.
    pub(crate) fn new() -> Self {
        Self {
            select: 0,
            entries: [MASKED; PINS],
        }
    }

    /// Handles a write of the guest. Returns what it changes.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> Option<Redirection> {
        let value = u32::from_le_bytes(data.try_into().ok()?);
        if offset == SELECT {
            self.select = value & 0xff;
        }
        if offset != WINDOW {
            return None;
        }
        let (pin, high) = self.selected()?;
        let entry = self.entries.get_mut(pin)?;
        let [low_half, high_half] = [*entry & 0xffff_ffff, *entry >> 32];
        *entry = match high {
            true => u64::from(value) << 32 | low_half,
            false => high_half << 32 | u64::from(value),
        };
        Some(Redirection {
            pin: u32::try_from(pin).ok()?,
            message: message(*entry),
            masked: *entry & MASKED != 0,
        })
    }

    /// Handles a read of the guest.
    pub(crate) fn read(&self, offset: u64, data: &mut [u8]) {
        let value = match (offset, self.select, self.selected()) {
            (SELECT, select, _) => select,
            (WINDOW, 1, _) => VERSION,
            (WINDOW, _, Some((pin, high))) => {
                let entry = self.entries.get(pin).copied().unwrap_or(0);
                (if high {
                    entry >> 32
                } else {
                    entry & 0xffff_ffff
                }) as u32
            }
            _ => 0,
        };
        data.fill(0);
        for (byte, value) in data.iter_mut().zip(value.to_le_bytes()) {
            *byte = value;
        }
    }

    /// The vector that a pin has.
    pub(crate) fn vector(&self, pin: u8) -> Option<u8> {
        let [vector, ..] = self.entries.get(usize::from(pin))?.to_le_bytes();
        Some(vector)
    }

    /// The pin whose entry is selected, and whether it is the upper half.
    fn selected(&self) -> Option<(usize, bool)> {
        let register = self.select.checked_sub(REDIRECTION)?;
        let pin = usize::try_from(register / 2).ok()?;
        (pin < PINS).then_some((pin, register % 2 == 1))
    }
}

/// The message of an entry. Vector, modes and destination have the same place in both, except for
/// the destination mode.
fn message(entry: u64) -> MsiMessage {
    let destination = entry >> 56;
    let logical = entry >> 11 & 1;
    let data = entry & (LEVEL | 0x7ff);
    MsiMessage::new(0xfee0_0000 | destination << 12 | logical << 2, data as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(ioapic: &mut IoApic, register: u32) {
        assert_eq!(ioapic.write(SELECT, &register.to_le_bytes()), None);
    }

    #[test]
    fn an_entry_is_a_message() {
        let mut ioapic = IoApic::new();
        select(&mut ioapic, 0x25);
        ioapic.write(WINDOW, &0x0300_0000u32.to_le_bytes());
        select(&mut ioapic, 0x24);
        let expected = Redirection {
            pin: 10,
            message: MsiMessage::new(0xfee0_3000, 0x8050),
            masked: false,
        };
        let entry = 0x8050u32.to_le_bytes();
        assert_eq!(ioapic.write(WINDOW, &entry), Some(expected));
        assert_eq!(ioapic.vector(10), Some(0x50));
        let expected = Redirection {
            pin: 10,
            message: MsiMessage::new(0xfee0_3004, 0x8061),
            masked: true,
        };
        let entry = 0x1_8861u32.to_le_bytes();
        assert_eq!(ioapic.write(WINDOW, &entry), Some(expected));
        assert_eq!(ioapic.vector(10), Some(0x61));
    }

    #[test]
    fn what_was_written_is_read() {
        let mut ioapic = IoApic::new();
        let mut value = [0; 4];
        select(&mut ioapic, 1);
        ioapic.read(WINDOW, &mut value);
        assert_eq!(u32::from_le_bytes(value), 0x0017_0011);
        select(&mut ioapic, 0x10);
        ioapic.read(WINDOW, &mut value);
        assert_eq!(u32::from_le_bytes(value), 0x1_0000, "masked");
    }

    #[test]
    fn nonsense_changes_nothing() {
        let mut ioapic = IoApic::new();
        select(&mut ioapic, 0x40);
        assert_eq!(ioapic.write(WINDOW, &[0; 4]), None);
        assert_eq!(ioapic.write(WINDOW, &[0; 8]), None);
        assert_eq!(ioapic.write(4, &[0; 4]), None);
    }
}

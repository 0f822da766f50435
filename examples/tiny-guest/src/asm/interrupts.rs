// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Phrases for the interrupt controllers: local APIC, I/O APIC and PICs.

use super::{Asm, Emitted};
use crate::lapic::{SVR, SVR_ENABLED};
use crate::layout::{IOAPIC, LAPIC};

const LAPIC_EOI: u64 = LAPIC + 0xb0;

/// The index and data registers, which give access to the I/O APIC's other registers.
const IOAPIC_SELECT: u64 = IOAPIC;
const IOAPIC_WINDOW: u64 = IOAPIC + 0x10;
/// The first half of the entry of pin 0. Each pin has two halves.
const IOAPIC_REDIRECTION: u32 = 0x10;

const PIC1_COMMAND: u16 = 0x20;
const PIC1_DATA: u16 = 0x21;
const PIC2_COMMAND: u16 = 0xa0;
const PIC2_DATA: u16 = 0xa1;
/// Which pins of a PIC are level-triggered: one register for each PIC, added by PCI bridges.
const PIC1_ELCR: u16 = 0x4d0;
const PIC2_ELCR: u16 = 0x4d1;
const PIC_EOI: u8 = 0x20;
/// The pin of the first PIC to which the second is connected.
const PIC_CASCADE: u8 = 2;

impl Asm {
    /// Enables the local APIC. A disabled one accepts no interrupts.
    pub fn enable_lapic(&mut self) -> Emitted {
        self.mmio_write32(LAPIC + SVR as u64, SVR_ENABLED)
    }

    /// Sends the EOI of the interrupt that the local APIC delivered last.
    pub fn lapic_eoi(&mut self) -> Emitted {
        self.mmio_write32(LAPIC_EOI, 0)
    }

    /// Sets the redirection entry of a pin of the I/O APIC: its message and its destination.
    pub fn redirect_pin(&mut self, pin: u8, entry: u64) -> Emitted {
        let register = IOAPIC_REDIRECTION + 2 * u32::from(pin);
        // The upper half first: the lower one has the bit that masks the pin.
        self.mmio_write32(IOAPIC_SELECT, register + 1)?;
        self.mmio_write32(IOAPIC_WINDOW, (entry >> 32) as u32)?;
        self.mmio_write32(IOAPIC_SELECT, register)?;
        self.mmio_write32(IOAPIC_WINDOW, entry as u32)
    }

    /// Resets both PICs, and makes their pins deliver vectors from `first_vector` on, a multiple of
    /// 8. No pin is masked.
    pub fn reset_pics(&mut self, first_vector: u8) -> Emitted {
        for (command, data, vector, cascade) in [
            (PIC1_COMMAND, PIC1_DATA, first_vector, 1 << PIC_CASCADE),
            (PIC2_COMMAND, PIC2_DATA, first_vector + 8, PIC_CASCADE),
        ] {
            self.port_write8(command, 0x11)?; // ICW1: initialise, ICW4 follows
            self.port_write8(data, vector)?; // ICW2
            self.port_write8(data, cascade)?; // ICW3
            self.port_write8(data, 0x01)?; // ICW4: 8086 mode
            self.port_write8(data, 0x00)?; // the mask
        }
        Ok(())
    }

    /// Makes these pins of the PICs level-triggered (bit n is pin n), and the others
    /// edge-triggered.
    ///
    /// Pins 0 to 2, 8 and 13 are always edge-triggered.
    pub fn level_trigger_pics(&mut self, pins: u16) -> Emitted {
        let [low, high] = pins.to_le_bytes();
        self.port_write8(PIC1_ELCR, low)?;
        self.port_write8(PIC2_ELCR, high)
    }

    /// Masks all pins of both PICs.
    ///
    /// Lines go to the PICs and to the I/O APIC. A program that uses the I/O APIC masks the PICs:
    /// they start unmasked, with vectors from 0 on, which are those of exceptions.
    pub fn mask_pics(&mut self) -> Emitted {
        self.port_write8(PIC1_DATA, 0xff)?;
        self.port_write8(PIC2_DATA, 0xff)
    }

    /// Sends the EOI of the interrupt that each of the PICs delivered last.
    pub fn pic_eoi(&mut self) -> Emitted {
        self.port_write8(PIC2_COMMAND, PIC_EOI)?;
        self.pic1_eoi()
    }

    /// Sends the EOI of the interrupt that the first PIC delivered last, but not of that of the
    /// second. This is right for a spurious interrupt of the second.
    pub fn pic1_eoi(&mut self) -> Emitted {
        self.port_write8(PIC1_COMMAND, PIC_EOI)
    }
}

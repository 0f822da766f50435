// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Guest`]: does to a [`SimVm`] what the real guest's instructions do.

use std::sync::atomic::Ordering;

use notify_sim::{IoApicState, SimVm};

use super::Shared;
use crate::bus::Bus;
use crate::layout::{
    EXPORTED, IOAPIC, IOAPIC_VECTORS, LEVEL, MASKED, MASKS, MASKS_AND_ENDS, MOVES_IN_SERVICE,
    OTHER_VECTOR, PIC_BASE, PIC_EOI, PIC1, PIC2, PIN, REMOTE_IRR, SPURIOUS_SLAVE, acknowledge,
};
use crate::{Chip, Irqchip, Run};

/// The register of the lower half of the pin's redirection entry.
const REDIRECTION: u32 = 0x10 + 2 * PIN as u32;

pub(super) struct Guest<'a> {
    pub(super) run: Run,
    pub(super) vm: &'a SimVm,
    pub(super) bus: Bus<'a>,
    pub(super) shared: &'a Shared,
}

impl Guest<'_> {
    /// Sets up the controller.
    pub(super) fn start(&self) -> Result<(), String> {
        match self.run.chip {
            Chip::Ioapic => {
                let [vector, _] = IOAPIC_VECTORS;
                self.shared
                    .entry
                    .store(LEVEL as u32 | u32::from(vector), Ordering::Relaxed);
                self.select(REDIRECTION + 1)?;
                self.write(IOAPIC + 0x10, &[0; 4])?;
                self.select(REDIRECTION)?;
                self.write_entry(0)?;
            }
            Chip::Pic => {
                for (port, base, cascade) in [(PIC1, PIC_BASE, 4), (PIC2, PIC_BASE + 8, 2)] {
                    self.write_port(port, 0x11);
                    for word in [base, cascade, 1, 0] {
                        self.write_port(port + 1, word);
                    }
                }
                self.write_port(0x4d1, 1 << (PIN - 8));
            }
        }
        Ok(())
    }

    /// The vCPU takes an interrupt.
    pub(super) fn take(&self) -> Option<u8> {
        match (self.run.chip, self.run.irqchip) {
            (Chip::Ioapic, _) => self.vm.take_vector(0),
            (Chip::Pic, Irqchip::Full) => self.vm.take_pic(),
            (Chip::Pic, Irqchip::Split) => self.bus.board.take(),
        }
    }

    pub(super) fn handle(&self, vector: u8) -> Result<(), String> {
        let shared = self.shared;
        if vector == SPURIOUS_SLAVE {
            shared.spurious.fetch_add(1, Ordering::Relaxed);
            self.write_port(PIC1, PIC_EOI);
            return Ok(());
        }
        shared.interrupts.fetch_add(1, Ordering::AcqRel);
        let of_devices = shared.published.iter().zip(&shared.acknowledged);
        for (device, (published, acknowledged)) in of_devices.enumerate() {
            let number = published.load(Ordering::Acquire);
            if acknowledged.swap(number, Ordering::AcqRel) != number && device != EXPORTED {
                self.write(acknowledge(device), &number.to_le_bytes())?;
            }
        }
        self.end(vector)?;
        shared.eois.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Sends the EOI of an interrupt; for some, the pin is masked meanwhile, and moved.
    fn end(&self, vector: u8) -> Result<(), String> {
        let number = self.shared.interrupts.load(Ordering::Relaxed) as u32 % MASKS;
        let may_move_early = self.run.chip == Chip::Ioapic && self.run.irqchip == Irqchip::Split;
        match number {
            MASKS_AND_ENDS => {
                self.mask()?;
                self.eoi(vector)?;
                self.unmask()
            }
            MOVES_IN_SERVICE if may_move_early => {
                self.mask()?;
                self.unmask()?;
                self.eoi(vector)
            }
            _ => self.eoi(vector),
        }
    }

    fn eoi(&self, vector: u8) -> Result<(), String> {
        match self.run.chip {
            Chip::Ioapic => {
                self.vm.lapic_eoi(0);
                if self.run.irqchip == Irqchip::Split {
                    self.bus.board.vector_ended(vector)?;
                }
            }
            Chip::Pic => {
                self.write_port(PIC2, PIC_EOI);
                self.write_port(PIC1, PIC_EOI);
            }
        }
        Ok(())
    }

    fn mask(&self) -> Result<(), String> {
        match self.run.chip {
            Chip::Ioapic => self.write_entry(MASKED as u32)?,
            Chip::Pic => self.write_port(PIC2 + 1, 1 << (PIN - 8)),
        }
        Ok(())
    }

    /// Routes the IOAPIC's pin to its other vector first, unless an interrupt of this vector is in
    /// flight.
    fn unmask(&self) -> Result<(), String> {
        match self.run.chip {
            Chip::Ioapic => {
                if !self.is_sent() {
                    let entry = &self.shared.entry;
                    entry.fetch_xor(OTHER_VECTOR.into(), Ordering::Relaxed);
                    self.write_entry(MASKED as u32)?;
                    self.shared.moves.fetch_add(1, Ordering::AcqRel);
                }
                self.write_entry(0)?;
            }
            Chip::Pic => self.write_port(PIC2 + 1, 0),
        }
        self.shared.masks.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Whether an IOAPIC in the kernel waits for an EOI.
    fn is_sent(&self) -> bool {
        let entry = |state: IoApicState| state.redirections.get(usize::from(PIN)).copied();
        let entry = self.vm.ioapic().and_then(entry);
        entry.is_some_and(|entry| entry & REMOTE_IRR != 0)
    }

    fn select(&self, register: u32) -> Result<(), String> {
        self.write(IOAPIC, &register.to_le_bytes())
    }

    /// Writes the entry to the selected register, with `bits` added.
    fn write_entry(&self, bits: u32) -> Result<(), String> {
        let entry = self.shared.entry.load(Ordering::Relaxed) | bits;
        self.write(IOAPIC + 0x10, &entry.to_le_bytes())
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<(), String> {
        let outcome = self.vm.guest_write(notify_core::Bus::Mmio, address, data);
        let mut exits = outcome.exits.iter();
        exits.try_for_each(|exit| self.bus.write(exit.address, exit.bytes()))
    }

    fn write_port(&self, port: u16, value: u8) {
        let outcome = self
            .vm
            .guest_write(notify_core::Bus::Pio, port.into(), &[value]);
        for exit in &outcome.exits {
            self.bus.board.port_write(port, exit.bytes());
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The guest: sets up a controller; its handler acknowledges the devices' numbers.

mod pin;

use tiny_guest::iced_x86::code_asm::{qword_ptr, rax, rcx};
use tiny_guest::{Asm, Emitted, Eoi, Error, Machine, Program, Slot};

use crate::layout::{
    DEVICES, EXPORTED, IOAPIC_VECTORS, LEVEL, PIC_BASE, PIC_VECTOR, PIN, SPURIOUS_MASTER,
    SPURIOUS_SLAVE, acknowledge,
};
use crate::memory::Memory;
use crate::{Chip, Run};
use pin::Pin;

/// What guest and host share.
#[derive(Debug)]
pub(crate) struct Shared {
    published: Vec<Slot>,
    acknowledged: Vec<Slot>,
    interrupts: Slot,
    eois: Slot,
    spurious: Slot,
    masks: Slot,
    moves: Slot,
    /// The lower half of the pin's redirection entry.
    entry: Slot,
    pub(crate) ready: Slot,
    /// Never set: the guest sleeps until it is stopped.
    never: Slot,
}

impl Shared {
    pub(crate) fn new(machine: &Machine) -> Result<Self, Error> {
        let by_device = || {
            let slots = (0..DEVICES).map(|_| machine.slot());
            slots.collect::<Result<Vec<_>, Error>>()
        };
        Ok(Self {
            published: by_device()?,
            acknowledged: by_device()?,
            interrupts: machine.slot()?,
            eois: machine.slot()?,
            spurious: machine.slot()?,
            masks: machine.slot()?,
            moves: machine.slot()?,
            entry: machine.slot()?,
            ready: machine.slot()?,
            never: machine.slot()?,
        })
    }

    /// The program. With `leave`, it exits after each EOI.
    pub(crate) fn program(&self, run: Run, leave: bool) -> Result<Program, Error> {
        let [first, other] = IOAPIC_VECTORS;
        let entry = LEVEL | u64::from(first);
        let mut program = Program::new(|asm| {
            match run.chip {
                Chip::Ioapic => {
                    asm.mask_pics()?;
                    asm.enable_lapic()?;
                    asm.store(&self.entry, entry)?;
                    asm.redirect_pin(PIN, entry)?;
                }
                Chip::Pic => {
                    asm.reset_pics(PIC_BASE)?;
                    asm.level_trigger_pics(1 << PIN)?;
                }
            }
            asm.store(&self.ready, 1)?;
            asm.halt_until(&self.never, 1)
        })?;
        let vectors: &[u8] = match run.chip {
            Chip::Ioapic => &[first, other],
            Chip::Pic => &[PIC_VECTOR],
        };
        for &vector in vectors {
            program = program.handler_with(vector, Eoi::None, |asm| {
                asm.increment(&self.interrupts)?;
                (0..DEVICES).try_for_each(|device| self.look_at(device, asm))?;
                let pin = Pin {
                    run,
                    leave,
                    entry: &self.entry,
                    masks: &self.masks,
                    moves: &self.moves,
                };
                pin.end(&self.interrupts, asm)?;
                asm.increment(&self.eois)
            })?;
        }
        // The second PIC has nothing in service then; only its cascade pin in the first PIC is.
        program
            .handler_with(SPURIOUS_MASTER, Eoi::None, |asm| {
                asm.increment(&self.spurious)
            })?
            .handler_with(SPURIOUS_SLAVE, Eoi::None, |asm| {
                asm.increment(&self.spurious)?;
                asm.pic1_eoi()
            })
    }

    /// Acknowledges a device's new number: in memory, and at the device's register if it has one.
    fn look_at(&self, device: usize, asm: &mut Asm) -> Emitted {
        let (Some(published), Some(acknowledged)) =
            (self.published.get(device), self.acknowledged.get(device))
        else {
            return Ok(());
        };
        let mut nothing_new = asm.create_label();
        asm.mov(rax, qword_ptr(published.address()))?;
        asm.cmp(rax, qword_ptr(acknowledged.address()))?;
        asm.je(nothing_new)?;
        asm.mov(qword_ptr(acknowledged.address()), rax)?;
        if device != EXPORTED {
            asm.mov(rcx, acknowledge(device))?;
            asm.mov(qword_ptr(rcx), rax)?;
        }
        asm.set_label(&mut nothing_new)
    }
}

impl Memory for Shared {
    fn publish(&self, device: usize, number: u64) -> Result<(), String> {
        let slot = self.published.get(device).ok_or("no slot")?;
        slot.store(number).map_err(text)
    }

    fn published(&self, device: usize) -> Result<u64, String> {
        let slot = self.published.get(device).ok_or("no slot")?;
        slot.load().map_err(text)
    }

    fn acknowledged(&self, device: usize) -> Result<u64, String> {
        let slot = self.acknowledged.get(device).ok_or("no slot")?;
        slot.load().map_err(text)
    }

    fn interrupts(&self) -> Result<u64, String> {
        self.interrupts.load().map_err(text)
    }

    fn eois(&self) -> Result<u64, String> {
        self.eois.load().map_err(text)
    }

    fn masks(&self) -> Result<u64, String> {
        self.masks.load().map_err(text)
    }

    fn moves(&self) -> Result<u64, String> {
        self.moves.load().map_err(text)
    }

    fn spurious(&self) -> Result<u64, String> {
        self.spurious.load().map_err(text)
    }
}

fn text(error: Error) -> String {
    error.to_string()
}

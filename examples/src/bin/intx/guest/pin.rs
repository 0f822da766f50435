// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Pin`]: how the guest sends an EOI, and what it does to the controller's pin before.

use tiny_guest::iced_x86::code_asm::{dword_ptr, eax, qword_ptr, rax, rcx};
use tiny_guest::{Asm, Emitted, Slot};

use crate::layout::{
    IOAPIC, MASKED, MASKS, MASKS_AND_ENDS, MOVES_IN_SERVICE, OTHER_VECTOR, PIN, REMOTE_IRR,
};
use crate::{Chip, Irqchip, Run};

/// An unused port: a write to it exits.
const NOWHERE: u16 = 0x80;

/// The IOAPIC's index and data registers.
const SELECT: u64 = IOAPIC;
const WINDOW: u64 = IOAPIC + 0x10;
/// The second PIC's mask register, and the pin's bit there.
const PIC2_MASK: u16 = 0xa1;
const PIC2_BIT: u8 = 1 << (PIN - 8);

pub(super) struct Pin<'a> {
    pub(super) run: Run,
    /// Exits after the EOI.
    pub(super) leave: bool,
    /// The lower half of the pin's redirection entry.
    pub(super) entry: &'a Slot,
    /// Count how often the pin was masked, and how often it was moved meanwhile.
    pub(super) masks: &'a Slot,
    pub(super) moves: &'a Slot,
}

impl Pin<'_> {
    /// Sends the EOI of the interrupt with this number; for some, the pin is masked meanwhile, and
    /// moved.
    pub(super) fn end(&self, number: &Slot, asm: &mut Asm) -> Emitted {
        let [mut masks, mut moves, mut done] = [(); 3].map(|()| asm.create_label());
        asm.mov(eax, dword_ptr(number.address()))?;
        asm.and(eax, MASKS - 1)?;
        asm.cmp(eax, MASKS_AND_ENDS)?;
        asm.je(masks)?;
        let may_move_early = self.run.chip == Chip::Ioapic && self.run.irqchip == Irqchip::Split;
        if may_move_early {
            asm.cmp(eax, MOVES_IN_SERVICE)?;
            asm.je(moves)?;
        }
        self.eoi(asm)?;
        asm.jmp(done)?;

        if may_move_early {
            asm.set_label(&mut moves)?;
            self.mask(asm)?;
            self.unmask(asm)?;
            self.eoi(asm)?;
            asm.jmp(done)?;
        }

        asm.set_label(&mut masks)?;
        self.mask(asm)?;
        self.eoi(asm)?;
        self.unmask(asm)?;

        asm.set_label(&mut done)?;
        // The label needs an instruction.
        asm.nop()
    }

    fn eoi(&self, asm: &mut Asm) -> Emitted {
        match self.run.chip {
            Chip::Ioapic => asm.lapic_eoi()?,
            Chip::Pic => asm.pic_eoi()?,
        }
        if self.leave {
            asm.port_write8(NOWHERE, 0)?;
        }
        Ok(())
    }

    fn mask(&self, asm: &mut Asm) -> Emitted {
        match self.run.chip {
            Chip::Ioapic => {
                asm.mmio_write32(SELECT, 0x10 + 2 * u32::from(PIN))?;
                self.write_entry(MASKED as i32, asm)
            }
            Chip::Pic => asm.port_write8(PIC2_MASK, PIC2_BIT),
        }
    }

    /// Routes the IOAPIC's pin to its other vector first, but not while an interrupt of this vector
    /// is in flight: the IOAPIC would no longer match its EOI. (Linux checks the same:
    /// `io_apic_level_ack_pending`.)
    fn unmask(&self, asm: &mut Asm) -> Emitted {
        match self.run.chip {
            Chip::Ioapic => {
                let mut stays = asm.create_label();
                asm.mov(rcx, WINDOW)?;
                asm.mov(eax, dword_ptr(rcx))?;
                asm.and(eax, REMOTE_IRR as i32)?;
                asm.jne(stays)?;
                asm.xor(qword_ptr(self.entry.address()), i32::from(OTHER_VECTOR))?;
                self.write_entry(MASKED as i32, asm)?;
                asm.increment(self.moves)?;
                asm.set_label(&mut stays)?;
                self.write_entry(0, asm)?;
            }
            Chip::Pic => asm.port_write8(PIC2_MASK, 0)?,
        }
        asm.increment(self.masks)
    }

    /// Writes the entry to the selected register, with `bits` added.
    fn write_entry(&self, bits: i32, asm: &mut Asm) -> Emitted {
        asm.mov(rax, qword_ptr(self.entry.address()))?;
        asm.or(rax, bits)?;
        asm.mov(rcx, WINDOW)?;
        asm.mov(dword_ptr(rcx), eax)
    }
}

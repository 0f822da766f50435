// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Phrases that wait for a slot to reach a value.

use iced_x86::code_asm::{qword_ptr, rax};

use super::{Asm, Emitted, Value};
use crate::Slot;

impl Asm {
    /// Sleeps until the slot is `value` or more. Only a handler of this vCPU may set it.
    ///
    /// Interrupts are on afterwards. They are off between the look at the slot and the `hlt`, and
    /// `sti` turns them on only after the next instruction: so no interrupt is missed.
    pub fn halt_until(&mut self, slot: &Slot, value: impl Into<Value>) -> Emitted {
        let (mut look, mut done) = (self.create_label(), self.create_label());
        self.set_rax(value.into())?;
        self.set_label(&mut look)?;
        self.cli()?;
        self.cmp(qword_ptr(slot.address()), rax)?;
        self.jae(done)?;
        self.sti()?;
        self.hlt()?;
        self.jmp(look)?;
        self.set_label(&mut done)?;
        self.sti()
    }

    /// Polls the slot until it is `value` or more. The host or any vCPU may set it.
    ///
    /// Interrupts are on, during and afterwards.
    pub fn spin_until(&mut self, slot: &Slot, value: impl Into<Value>) -> Emitted {
        let (mut look, mut done) = (self.create_label(), self.create_label());
        self.set_rax(value.into())?;
        self.sti()?;
        self.set_label(&mut look)?;
        self.cmp(qword_ptr(slot.address()), rax)?;
        self.jae(done)?;
        self.pause()?;
        self.jmp(look)?;
        self.set_label(&mut done)?;
        // The label needs an instruction, and the caller may have a label for the next one.
        self.nop()
    }
}

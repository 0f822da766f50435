// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Phrases that wait for a slot to reach a value.

use iced_x86::code_asm::{qword_ptr, rax};

use super::{Asm, Emitted, Value};
use crate::Slot;

impl Asm {
    /// Sleeps until the slot is `value` or more. It is a handler of this vCPU that makes it so.
    ///
    /// Interrupts are on afterwards. Between the look at the slot and the `hlt` they are off, and
    /// `sti` turns them on only after the instruction behind it: none is missed.
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

    /// Looks again and again until the slot is `value` or more, whoever makes it so.
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
        // A label belongs to an instruction, and a caller may have one for what follows.
        self.nop()
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! An assembler with the phrases of which guests are made.
//!
//! All phrases keep to one convention. They change RAX, RCX, RDX and the flags, and no other
//! register except [`ROUND`], which belongs to [`Asm::repeat`]. Handlers save these three, so
//! phrases may be used on both sides of an interrupt.

mod interrupts;
mod io;
mod variables;
mod wait;

use std::fmt;
use std::ops::{Deref, DerefMut};

use iced_x86::IcedError;
use iced_x86::code_asm::{AsmRegister64, CodeAssembler, dx, eax, edx, qword_ptr, r15, rax};

use crate::Slot;
use crate::layout::FINISH_PORT;

/// The result of emitting instructions: a type of iced-x86, so that `?` works for its methods, too.
pub type Emitted = Result<(), IcedError>;

/// The number of the round in a [`Asm::repeat`], from 1 on.
pub const ROUND: AsmRegister64 = r15;

/// An operand: a constant or a register.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// A constant.
    Constant(u64),
    /// A register.
    Register(AsmRegister64),
}

impl From<u64> for Value {
    fn from(constant: u64) -> Self {
        Self::Constant(constant)
    }
}

impl From<AsmRegister64> for Value {
    fn from(register: AsmRegister64) -> Self {
        Self::Register(register)
    }
}

/// A [`CodeAssembler`] with phrases besides instructions.
///
/// Any instruction may be used between phrases, which change RAX, RCX, RDX, and the flags.
pub struct Asm(CodeAssembler);

impl Asm {
    pub(crate) fn new() -> Result<Self, IcedError> {
        CodeAssembler::new(64).map(Self)
    }

    /// Ends the program: [`Vcpu::run`](crate::Vcpu::run) returns
    /// [`Exit::Finished`](crate::Exit::Finished) with this code.
    ///
    /// A vCPU that is run again nevertheless halts for good.
    pub fn finish(&mut self, code: u32) -> Emitted {
        self.mov(edx, u32::from(FINISH_PORT))?;
        self.mov(eax, code)?;
        self.out(dx, eax)?;
        let mut halt = self.create_label();
        self.set_label(&mut halt)?;
        self.cli()?;
        self.hlt()?;
        self.jmp(halt)
    }

    /// Runs `body` for each [`ROUND`] from 1 to `rounds`. Loops may be nested.
    pub fn repeat(&mut self, rounds: u32, body: impl FnOnce(&mut Self) -> Emitted) -> Emitted {
        self.rounds(rounds, None, body)
    }

    /// The same, but no round begins once `stop` is no longer 0.
    pub fn repeat_until_stopped(
        &mut self,
        rounds: u32,
        stop: &Slot,
        body: impl FnOnce(&mut Self) -> Emitted,
    ) -> Emitted {
        self.rounds(rounds, Some(stop), body)
    }

    fn rounds(
        &mut self,
        rounds: u32,
        stop: Option<&Slot>,
        body: impl FnOnce(&mut Self) -> Emitted,
    ) -> Emitted {
        let [mut next, mut test, mut done] = [(); 3].map(|()| self.create_label());
        self.push(ROUND)?;
        self.mov(ROUND, 1u64)?;
        self.jmp(test)?;
        self.set_label(&mut next)?;
        body(self)?;
        self.inc(ROUND)?;
        self.set_label(&mut test)?;
        if let Some(stop) = stop {
            self.cmp(qword_ptr(stop.address()), 0)?;
            self.jne(done)?;
        }
        self.mov(eax, rounds)?; // clears the upper half of RAX, so that the bound is unsigned
        self.cmp(ROUND, rax)?;
        self.jbe(next)?;
        self.set_label(&mut done)?;
        self.pop(ROUND)
    }

    /// Sets RAX.
    fn set_rax(&mut self, value: Value) -> Emitted {
        match value {
            Value::Constant(constant) => self.mov(rax, constant),
            Value::Register(register) => self.mov(rax, register),
        }
    }
}

impl Deref for Asm {
    type Target = CodeAssembler;

    fn deref(&self) -> &CodeAssembler {
        &self.0
    }
}

impl DerefMut for Asm {
    fn deref_mut(&mut self) -> &mut CodeAssembler {
        &mut self.0
    }
}

impl fmt::Debug for Asm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("Asm")
            .field(&self.instructions().len())
            .finish()
    }
}

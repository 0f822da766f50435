// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The code of one vCPU: a main program, and handlers of interrupts.

use iced_x86::BlockEncoderOptions;
use iced_x86::code_asm::{CodeLabel, rax, rcx, rdx};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::asm::{Asm, Emitted};
use crate::long_mode::CODE_SELECTOR;
use crate::{Error, layout};

/// A 64-bit interrupt gate in ring 0: present, and interrupts off in the handler.
const INTERRUPT_GATE: u64 = 0x8e00;

/// How a handler sends its EOI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eoi {
    /// By the EOI register of the local APIC.
    #[default]
    Lapic,
    /// By EOI commands to both PICs.
    Pic,
    /// Not at all, or in its body.
    None,
}

/// A main program with its handlers, not yet at an address.
#[derive(Debug)]
pub struct Program {
    asm: Asm,
    handlers: Vec<(u8, CodeLabel)>,
}

impl Program {
    /// Assembles a main program. If it runs off its end, it finishes with 0.
    ///
    /// # Errors
    ///
    /// Those of `main`.
    pub fn new(main: impl FnOnce(&mut Asm) -> Emitted) -> Result<Self, Error> {
        let mut asm = Asm::new()?;
        main(&mut asm)?;
        asm.finish(0)?;
        Ok(Self {
            asm,
            handlers: Vec::new(),
        })
    }

    /// Adds the handler of an interrupt from the local APIC. `vector` is 32 or more.
    ///
    /// Around `body`, it saves and restores the registers that the phrases of [`Asm`] change, sends
    /// the EOI, and returns.
    ///
    /// # Errors
    ///
    /// Those of `body`.
    pub fn handler(
        self,
        vector: u8,
        body: impl FnOnce(&mut Asm) -> Emitted,
    ) -> Result<Self, Error> {
        self.handler_with(vector, Eoi::Lapic, body)
    }

    /// Adds a handler that sends the EOI as `eoi` says.
    ///
    /// # Errors
    ///
    /// Those of `body`.
    pub fn handler_with(
        mut self,
        vector: u8,
        eoi: Eoi,
        body: impl FnOnce(&mut Asm) -> Emitted,
    ) -> Result<Self, Error> {
        let asm = &mut self.asm;
        let mut entry = asm.create_label();
        asm.set_label(&mut entry)?;
        for register in [rax, rcx, rdx] {
            asm.push(register)?;
        }
        body(asm)?;
        match eoi {
            Eoi::Lapic => asm.lapic_eoi()?,
            Eoi::Pic => asm.pic_eoi()?,
            Eoi::None => {}
        }
        for register in [rdx, rcx, rax] {
            asm.pop(register)?;
        }
        asm.iretq()?;
        self.handlers.push((vector, entry));
        Ok(self)
    }

    /// Writes code and IDT to their places for `vcpu`.
    pub(crate) fn write(mut self, memory: &GuestMemoryMmap, vcpu: u8) -> Result<(), Error> {
        let options = BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS;
        let assembled = self.asm.assemble_options(layout::code(vcpu), options)?;
        let code = &assembled.inner.code_buffer;
        if code.len() as u64 > layout::CODE_SIZE {
            return Err(Error::Layout("the program is longer than 48 KiB"));
        }
        memory.write_slice(code, GuestAddress(layout::code(vcpu)))?;

        // An empty gate is not present, so an interrupt without a handler shuts the vCPU down.
        let mut idt = [[0; 16]; 256];
        for (vector, entry) in &self.handlers {
            if let Some(slot) = idt.get_mut(usize::from(*vector)) {
                *slot = gate(assembled.label_ip(entry)?);
            }
        }
        memory.write_slice(idt.as_flattened(), GuestAddress(layout::idt(vcpu)))?;
        Ok(())
    }
}

/// The gate to `entry`; the descriptor has the address in three pieces.
fn gate(entry: u64) -> [u8; 16] {
    let low = (entry & 0xffff)
        | u64::from(CODE_SELECTOR) << 16
        | INTERRUPT_GATE << 32
        | (entry >> 16 & 0xffff) << 48;
    let high = entry >> 32;
    (u128::from(high) << 64 | u128::from(low)).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_has_its_address_in_three_pieces() {
        let bytes = gate(0x1122_3344_5566_7788);
        assert_eq!(bytes[..8], [0x88, 0x77, 0x08, 0, 0, 0x8e, 0x66, 0x55]);
        assert_eq!(bytes[8..], [0x44, 0x33, 0x22, 0x11, 0, 0, 0, 0]);
    }
}

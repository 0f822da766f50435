// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Phrases that reach devices: ports and MMIO.

use iced_x86::code_asm::{
    al, ax, byte_ptr, dword_ptr, dx, eax, edx, qword_ptr, rax, rcx, word_ptr,
};

use super::{Asm, Emitted};
use crate::Slot;

impl Asm {
    /// Writes a byte to a port.
    pub fn port_write8(&mut self, port: u16, value: u8) -> Emitted {
        self.set_port(port, value.into())?;
        self.out(dx, al)
    }

    /// Writes 2 bytes to a port.
    pub fn port_write16(&mut self, port: u16, value: u16) -> Emitted {
        self.set_port(port, value.into())?;
        self.out(dx, ax)
    }

    /// Writes 4 bytes to a port.
    pub fn port_write32(&mut self, port: u16, value: u32) -> Emitted {
        self.set_port(port, value)?;
        self.out(dx, eax)
    }

    /// Reads a byte from a port into a slot.
    pub fn port_read8(&mut self, port: u16, slot: &Slot) -> Emitted {
        self.set_port(port, 0)?;
        self.in_(al, dx)?;
        self.store_rax(slot)
    }

    /// Reads 2 bytes from a port into a slot.
    pub fn port_read16(&mut self, port: u16, slot: &Slot) -> Emitted {
        self.set_port(port, 0)?;
        self.in_(ax, dx)?;
        self.store_rax(slot)
    }

    /// Reads 4 bytes from a port into a slot.
    pub fn port_read32(&mut self, port: u16, slot: &Slot) -> Emitted {
        self.set_port(port, 0)?;
        self.in_(eax, dx)?;
        self.store_rax(slot)
    }

    /// Writes a byte to an address that need not be in RAM.
    pub fn mmio_write8(&mut self, address: u64, value: u8) -> Emitted {
        self.mov(rcx, address)?;
        self.mov(byte_ptr(rcx), u32::from(value))
    }

    /// Writes 2 bytes to an address that need not be in RAM.
    pub fn mmio_write16(&mut self, address: u64, value: u16) -> Emitted {
        self.mov(rcx, address)?;
        self.mov(word_ptr(rcx), u32::from(value))
    }

    /// Writes 4 bytes to an address that need not be in RAM.
    pub fn mmio_write32(&mut self, address: u64, value: u32) -> Emitted {
        self.mov(rcx, address)?;
        self.mov(dword_ptr(rcx), value)
    }

    /// Writes 8 bytes to an address that need not be in RAM.
    pub fn mmio_write64(&mut self, address: u64, value: u64) -> Emitted {
        self.mov(rcx, address)?;
        self.mov(rax, value)?; // no store has a constant of 8 bytes
        self.mov(qword_ptr(rcx), rax)
    }

    /// Reads a byte from an address that need not be in RAM into a slot.
    pub fn mmio_read8(&mut self, address: u64, slot: &Slot) -> Emitted {
        self.mov(rcx, address)?;
        self.movzx(eax, byte_ptr(rcx))?;
        self.store_rax(slot)
    }

    /// Reads 2 bytes from an address that need not be in RAM into a slot.
    pub fn mmio_read16(&mut self, address: u64, slot: &Slot) -> Emitted {
        self.mov(rcx, address)?;
        self.movzx(eax, word_ptr(rcx))?;
        self.store_rax(slot)
    }

    /// Reads 4 bytes from an address that need not be in RAM into a slot.
    pub fn mmio_read32(&mut self, address: u64, slot: &Slot) -> Emitted {
        self.mov(rcx, address)?;
        self.mov(eax, dword_ptr(rcx))?; // clears the upper half of RAX
        self.store_rax(slot)
    }

    /// Reads 8 bytes from an address that need not be in RAM into a slot.
    pub fn mmio_read64(&mut self, address: u64, slot: &Slot) -> Emitted {
        self.mov(rcx, address)?;
        self.mov(rax, qword_ptr(rcx))?;
        self.store_rax(slot)
    }

    fn set_port(&mut self, port: u16, value: u32) -> Emitted {
        self.mov(edx, u32::from(port))?;
        self.mov(eax, value)
    }
}

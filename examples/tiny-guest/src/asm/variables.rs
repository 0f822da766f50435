// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Phrases for slots and arrays, and for the time that is written to them.

use iced_x86::code_asm::{qword_ptr, rax, rdx};

use super::{Asm, Emitted, ROUND, Value};
use crate::{Array, Slot};

impl Asm {
    /// Sets a slot.
    pub fn store(&mut self, slot: &Slot, value: impl Into<Value>) -> Emitted {
        self.set_rax(value.into())?;
        self.store_rax(slot)
    }

    /// Adds 1 to a slot that neither the host nor another vCPU writes meanwhile.
    pub fn increment(&mut self, slot: &Slot) -> Emitted {
        self.inc(qword_ptr(slot.address()))
    }

    /// Adds 1 to a slot that the host or other vCPUs may write, too.
    pub fn increment_shared(&mut self, slot: &Slot) -> Emitted {
        self.lock().inc(qword_ptr(slot.address()))
    }

    /// Reads the time-stamp counter into a slot.
    pub fn store_tsc(&mut self, slot: &Slot) -> Emitted {
        self.read_tsc()?;
        self.store_rax(slot)
    }

    /// Reads the time-stamp counter into the value of `array` for this [`ROUND`]. The array has one
    /// value for each round.
    pub fn record_tsc(&mut self, array: &Array) -> Emitted {
        self.read_tsc()?;
        // Rounds count from 1. RAM ends at 2 GiB, so the address fits a displacement.
        self.mov(qword_ptr(ROUND * 8 + (array.address() - 8)), rax)
    }

    pub(super) fn store_rax(&mut self, slot: &Slot) -> Emitted {
        self.mov(qword_ptr(slot.address()), rax)
    }

    /// Reads the time-stamp counter into RAX.
    fn read_tsc(&mut self) -> Emitted {
        self.rdtsc()?;
        self.shl(rdx, 32u32)?;
        self.or(rax, rdx)
    }
}

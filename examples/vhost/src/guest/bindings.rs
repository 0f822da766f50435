// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Bindings`]: how the guest has configured the device, and whether the device obeys.

use tiny_guest::iced_x86::code_asm::{dword_ptr, eax, qword_ptr, rax, rcx};
use tiny_guest::layout::msi_address;
use tiny_guest::{Asm, Emitted, Error, Machine, Slot};

use super::{Load, QUEUES, RECEIVE};
use crate::registers::{
    DATA, ENTRIES, ENTRY, MASK, PLACES, QUEUE_VECTOR, STATUS, TABLE, interrupt,
};

/// Where queue, vector and BAR are, in RAM, and counters of forbidden events.
#[derive(Debug)]
pub(super) struct Bindings {
    /// The address of the first queue's doorbell.
    pub(super) notify: Slot,
    /// The place of the BAR.
    pub(super) place: Slot,
    /// The entry of the receive queue.
    pub(super) entry: Slot,
    /// The interrupt that this entry sends.
    pub(super) interrupt: Slot,
    /// Not 0 if no other interrupt may come now.
    pub(super) settled: Slot,
    /// How many packets there are before the next change.
    pub(super) countdown: Slot,
    /// Which change is next.
    pub(super) next: Slot,
    pub(super) changes: Slot,
    pub(super) through_mask: Slot,
    pub(super) stale: Slot,
    pub(super) unfinished: Slot,
    pub(super) early: Slot,
}

impl Bindings {
    pub(super) fn new(machine: &Machine) -> Result<Self, Error> {
        Ok(Self {
            notify: machine.slot()?,
            place: machine.slot()?,
            entry: machine.slot()?,
            interrupt: machine.slot()?,
            settled: machine.slot()?,
            countdown: machine.slot()?,
            next: machine.slot()?,
            changes: machine.slot()?,
            through_mask: machine.slot()?,
            stale: machine.slot()?,
            unfinished: machine.slot()?,
            early: machine.slot()?,
        })
    }

    /// All interrupts that a queue can have: of two entries with two messages each.
    pub(super) fn interrupts(queue: usize) -> [u8; 4] {
        let first = queue as u16;
        let second = first + QUEUES as u16;
        [(first, 0), (first, 1), (second, 0), (second, 1)]
            .map(|(entry, message)| interrupt(entry, message))
    }

    /// Programs the table, and starts the device.
    pub(super) fn bind(&self, asm: &mut Asm, load: &Load) -> Emitted {
        let [place, _] = PLACES;
        asm.store(&self.notify, place)?;
        asm.store(&self.entry, RECEIVE as u64)?;
        asm.store(&self.interrupt, u64::from(interrupt(RECEIVE as u16, 0)))?;
        asm.store(&self.settled, 1)?;
        asm.store(&self.countdown, u64::from(load.change_every))?;
        for entry in 0..ENTRIES {
            let address = TABLE + u64::from(entry) * ENTRY;
            asm.mmio_write32(address, msi_address(0) as u32)?;
            asm.mmio_write32(address + 4, 0)?;
            asm.mmio_write32(address + DATA, interrupt(entry, 0).into())?;
            asm.mmio_write32(address + MASK, 0)?;
        }
        self.start(asm)
    }

    /// Sets which entries the device's queues use, and starts it. The receive queue keeps its
    /// entry.
    pub(super) fn start(&self, asm: &mut Asm) -> Emitted {
        for queue in 0..QUEUES {
            match queue {
                RECEIVE => self.bind_receive(asm)?,
                _ => asm.mmio_write16(QUEUE_VECTOR + 2 * queue as u64, queue as u16)?,
            }
        }
        asm.mmio_write16(STATUS, 1)
    }

    /// Sets which entry the receive queue uses.
    pub(super) fn bind_receive(&self, asm: &mut Asm) -> Emitted {
        use tiny_guest::iced_x86::code_asm::{ax, word_ptr};

        asm.mov(rax, qword_ptr(self.entry.address()))?;
        asm.mov(rcx, QUEUE_VECTOR + 2 * RECEIVE as u64)?;
        asm.mov(word_ptr(rcx), ax)
    }

    /// Masks or unmasks the entry of the receive queue.
    pub(super) fn set_mask(&self, asm: &mut Asm, masked: bool) -> Emitted {
        self.entry_address(asm)?;
        asm.mov(dword_ptr(rcx + MASK), u32::from(masked))
    }

    /// Reads the mask of the receive queue's entry, as Linux does to be sure of it. An interrupt
    /// that was accepted before the mask is handled before this ends.
    pub(super) fn read_mask(&self, asm: &mut Asm) -> Emitted {
        self.entry_address(asm)?;
        asm.mov(eax, dword_ptr(rcx + MASK))
    }

    /// Makes the entry of the receive queue send its interrupt, as Linux does it.
    pub(super) fn program_entry(&self, asm: &mut Asm) -> Emitted {
        self.set_mask(asm, true)?;
        asm.mov(dword_ptr(rcx), msi_address(0) as u32)?;
        asm.mov(dword_ptr(rcx + 4), 0)?;
        asm.mov(rax, qword_ptr(self.interrupt.address()))?;
        asm.mov(dword_ptr(rcx + DATA), eax)?;
        asm.mov(dword_ptr(rcx + MASK), 0)
    }

    /// From now on no other interrupt may come.
    pub(super) fn settle(&self, asm: &mut Asm) -> Emitted {
        self.read_mask(asm)?;
        asm.store(&self.settled, 1)
    }

    /// In the handler of an interrupt of the receive queue: counts a forbidden one.
    pub(super) fn check(&self, asm: &mut Asm, interrupt: u8) -> Emitted {
        let mut right = asm.create_label();
        asm.cmp(qword_ptr(self.settled.address()), 0)?;
        asm.je(right)?;
        asm.cmp(qword_ptr(self.interrupt.address()), i32::from(interrupt))?;
        asm.je(right)?;
        asm.increment(&self.stale)?;
        asm.set_label(&mut right)?;
        asm.nop()
    }

    /// Sets RCX to the address of the receive queue's entry.
    fn entry_address(&self, asm: &mut Asm) -> Emitted {
        asm.mov(rcx, qword_ptr(self.entry.address()))?;
        asm.shl(rcx, ENTRY.ilog2())?;
        asm.mov(rax, TABLE)?;
        asm.add(rcx, rax)
    }
}

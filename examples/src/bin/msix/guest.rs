// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The guest: programs the device as the driver says, and takes its interrupts meanwhile.

use tiny_guest::iced_x86::code_asm::{qword_ptr, rax};
use tiny_guest::layout::DOORBELL;
use tiny_guest::{Asm, Emitted, Error, Machine, Program, Slot};

use crate::driver::Access;
use crate::layout::{VCPUS, VECTORS, interrupt};
use crate::triggers::Memory;

/// Where the device's region is.
pub(crate) const REGION: u64 = DOORBELL;

/// What guest and host share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// By vector: the number of its last trigger.
    published: Vec<Slot>,
    vcpus: Vec<OfVcpu>,
    /// Whether the guest must end.
    pub(crate) stop: Slot,
}

/// The memory that only this vCPU writes.
#[derive(Debug)]
struct OfVcpu {
    /// By vector: the number that its handler has read last.
    seen: Vec<Slot>,
    /// By vector: how many interrupts it has taken.
    taken: Vec<Slot>,
    torn: Slot,
    ready: Slot,
    /// What it has read of the device.
    read: Slot,
}

impl Shared {
    pub(crate) fn new(machine: &Machine) -> Result<Self, Error> {
        let by_vector = || {
            let slots = (0..VECTORS).map(|_| machine.slot());
            slots.collect::<Result<Vec<_>, Error>>()
        };
        let of_vcpu = |_| {
            Ok(OfVcpu {
                seen: by_vector()?,
                taken: by_vector()?,
                torn: machine.slot()?,
                ready: machine.slot()?,
                read: machine.slot()?,
            })
        };
        Ok(Self {
            published: by_vector()?,
            vcpus: (0..VCPUS).map(of_vcpu).collect::<Result<_, Error>>()?,
            stop: machine.slot()?,
        })
    }

    /// Whether every vCPU has programmed its vectors.
    pub(crate) fn is_ready(&self) -> Result<bool, Error> {
        let ready = self.vcpus.iter().map(|vcpu| vcpu.ready.load());
        Ok(ready.sum::<Result<u64, _>>()? == u64::from(VCPUS))
    }

    /// The program of a vCPU: does `start` once, then `steps` again and again until it must stop.
    pub(crate) fn program(
        &self,
        vcpu: u8,
        start: &[Access],
        steps: &[Access],
    ) -> Result<Option<Program>, Error> {
        let Some(own) = self.vcpus.get(usize::from(vcpu)) else {
            return Ok(None);
        };
        let mut program = Program::new(|asm| {
            asm.enable_lapic()?;
            asm.sti()?;
            start.iter().try_for_each(|access| emit(asm, access, own))?;
            asm.store(&own.ready, 1)?;
            let mut again = asm.create_label();
            asm.set_label(&mut again)?;
            steps.iter().try_for_each(|access| emit(asm, access, own))?;
            asm.cmp(qword_ptr(self.stop.address()), 0)?;
            asm.je(again)
        })?;
        let slots = self.published.iter().zip(own.seen.iter().zip(&own.taken));
        for (vector, (published, (seen, taken))) in (0..).zip(slots) {
            for target in 0..VCPUS {
                program = program.handler(interrupt(vector, target), |asm| {
                    if target != vcpu {
                        asm.increment(&own.torn)?;
                    }
                    asm.mov(rax, qword_ptr(published.address()))?;
                    asm.mov(qword_ptr(seen.address()), rax)?;
                    asm.increment(taken)
                })?;
            }
        }
        Ok(Some(program))
    }

    /// By vCPU, what its handlers have written for a vector.
    fn of_vector(
        &self,
        vector: u16,
        slots: fn(&OfVcpu) -> &[Slot],
    ) -> impl Iterator<Item = Result<u64, String>> {
        let slot = move |vcpu| slots(vcpu).get(usize::from(vector)).ok_or("no slot");
        let load = move |vcpu| slot(vcpu)?.load().map_err(text);
        self.vcpus.iter().map(load)
    }
}

fn emit(asm: &mut Asm, access: &Access, own: &OfVcpu) -> Emitted {
    match *access {
        Access::Write16(offset, value) => asm.mmio_write16(REGION + offset, value),
        Access::Write32(offset, value) => asm.mmio_write32(REGION + offset, value),
        Access::Write64(offset, value) => asm.mmio_write64(REGION + offset, value),
        Access::Read64(offset) => asm.mmio_read64(REGION + offset, &own.read),
        Access::Wait(turns) => asm.repeat(turns, |asm| asm.pause()),
    }
}

impl Memory for Shared {
    fn publish(&self, vector: u16) -> Result<(), String> {
        let slot = self.published.get(usize::from(vector)).ok_or("no slot")?;
        slot.fetch_add(1).map(drop).map_err(text)
    }

    fn published(&self, vector: u16) -> Result<u64, String> {
        let slot = self.published.get(usize::from(vector)).ok_or("no slot")?;
        slot.load().map_err(text)
    }

    fn seen(&self, vector: u16) -> Result<u64, String> {
        self.of_vector(vector, |vcpu| &vcpu.seen)
            .try_fold(0, |highest, seen| Ok(highest.max(seen?)))
    }

    fn delivered(&self, vector: u16) -> Result<u64, String> {
        self.of_vector(vector, |vcpu| &vcpu.taken).sum()
    }

    fn torn(&self) -> Result<u64, String> {
        let values = self.vcpus.iter().map(|vcpu| vcpu.torn.load());
        values.sum::<Result<_, _>>().map_err(text)
    }
}

fn text(error: Error) -> String {
    error.to_string()
}

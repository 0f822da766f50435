// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The guest: rings a doorbell, sleeps until the device's interrupt, and rings the next.
//!
//! It reads its time-stamp counter around each kick. A second program, which does all but the kick
//! itself, measures what reading the counter and setting up the operands cost.

use examples::arguments::Idle;
use ioeventfd::{IoAddress, Width};
use tiny_guest::iced_x86::code_asm::{
    AsmRegister64, al, ax, dword_ptr, dx, eax, edx, qword_ptr, r8, r12, r13, r14, rax, rbx, rcx,
    rdx, word_ptr,
};
use tiny_guest::{Array, Asm, Emitted, Error, Machine, Program, Slot};

use crate::bells::{self, BELLS, Bell, QUEUES};
use crate::wiring::FIRST_VECTOR;

/// The number of last kicks whose times are kept. A power of two, so that a mask wraps the array's
/// index, and a multiple of the number of doorbells.
const SAMPLES: u32 = 1 << 17;
/// Bytes for one kick: its cost, then its round trip.
const SAMPLE: u32 = 16;
/// How often the second program measures at each doorbell.
const CALIBRATIONS: u32 = 256;

/// The register that holds how many interrupts of a queue must have come.
const EXPECTED: [AsmRegister64; QUEUES] = [r12, r13];

/// What guest and host share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) kicks: Slot,
    pub(crate) interrupts: [Slot; QUEUES],
    /// Not 0 if the guest must not kick any more.
    stop: Slot,
    samples: Array,
    idle: Idle,
}

/// Times of one kick, in ticks of the time-stamp counter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticks {
    /// From before the write until the next instruction.
    pub(crate) cost: u64,
    /// From before the write until the guest goes on after the interrupt.
    pub(crate) round_trip: u64,
}

impl Shared {
    pub(crate) fn new(machine: &Machine, idle: Idle) -> Result<Self, Error> {
        Ok(Self {
            kicks: machine.slot()?,
            interrupts: [machine.slot()?, machine.slot()?],
            stop: machine.slot()?,
            samples: machine.array(SAMPLES * SAMPLE / 8)?,
            idle,
        })
    }

    /// Sets the counters to zero.
    pub(crate) fn reset(&self) -> Result<(), Error> {
        self.kicks.store(0)?;
        self.interrupts.iter().try_for_each(|slot| slot.store(0))
    }

    /// Makes the guest finish. It has kicked each doorbell equally often then.
    pub(crate) fn stop(&self) -> Result<(), Error> {
        self.stop.store(1)
    }

    /// How many interrupts the guest has taken.
    pub(crate) fn taken(&self) -> Result<u64, Error> {
        self.interrupts.iter().map(Slot::load).sum()
    }

    /// The times of the last kicks, or calibrations, each with the index of its doorbell.
    pub(crate) fn ticks(&self, kicks: u32) -> Result<Vec<(usize, Ticks)>, Error> {
        let words = self.samples.load()?;
        let ticks = words.as_chunks().0.iter().map(|[cost, round_trip]| Ticks {
            cost: *cost,
            round_trip: *round_trip,
        });
        let bells = (0..BELLS).cycle();
        Ok(bells.zip(ticks).take(kicks as usize).collect())
    }

    /// The program that kicks `kicks` times.
    pub(crate) fn kicking(&self, kicks: u32) -> Result<Program, Error> {
        let bells = bells::all();
        let (rounds, rest) = (kicks / BELLS as u32, kicks as usize % BELLS);
        let mut program = Program::new(|asm| {
            self.prologue(asm)?;
            asm.repeat_until_stopped(rounds, &self.stop, |asm| {
                bells.iter().try_for_each(|bell| self.kick(asm, bell))
            })?;
            asm.repeat_until_stopped(1, &self.stop, |asm| {
                let mut rest = bells.iter().take(rest);
                rest.try_for_each(|bell| self.kick(asm, bell))
            })
        })?;
        for (vector, slot) in (FIRST_VECTOR..).zip(&self.interrupts) {
            program = program.handler(vector, |asm| asm.increment(slot))?;
        }
        Ok(program)
    }

    /// The program that does everything but kick. Its times are in the samples' `cost`.
    pub(crate) fn calibrating(&self) -> Result<(Program, u32), Error> {
        let bells = bells::all();
        let program = Program::new(|asm| {
            self.prologue(asm)?;
            asm.repeat(CALIBRATIONS, |asm| {
                bells.iter().try_for_each(|bell| {
                    start_clock(asm)?;
                    set_up(asm, bell)?;
                    self.record(asm, 0)?;
                    next_sample(asm)
                })
            })
        })?;
        Ok((program, CALIBRATIONS * BELLS as u32))
    }

    fn prologue(&self, asm: &mut Asm) -> Emitted {
        asm.enable_lapic()?;
        asm.mov(rbx, self.samples.address())?;
        [r12, r13, r14]
            .into_iter()
            .try_for_each(|register| asm.mov(register, 0u64))
    }

    fn kick(&self, asm: &mut Asm, bell: &Bell) -> Emitted {
        asm.increment(&self.kicks)?;
        for (queue, (expected, taken)) in EXPECTED.iter().zip(&self.interrupts).enumerate() {
            if queue == bell.queue {
                asm.inc(*expected)?;
                // The time of the handler must not count as part of the kick.
                asm.cli()?;
                start_clock(asm)?;
                set_up(asm, bell)?;
                ring(asm, bell)?;
                self.record(asm, 0)?;
                match self.idle {
                    Idle::Halt => asm.halt_until(taken, *expected)?,
                    Idle::Spin => asm.spin_until(taken, *expected)?,
                }
                self.record(asm, 8)?;
            }
        }
        next_sample(asm)
    }

    /// Writes the time since the clock was started into the sample.
    fn record(&self, asm: &mut Asm, offset: u64) -> Emitted {
        read_clock(asm)?;
        asm.sub(rax, r8)?;
        asm.mov(qword_ptr(rbx + r14 + offset), rax)
    }
}

fn read_clock(asm: &mut Asm) -> Emitted {
    asm.rdtsc()?;
    asm.shl(rdx, 32u32)?;
    asm.or(rax, rdx)
}

fn start_clock(asm: &mut Asm) -> Emitted {
    read_clock(asm)?;
    asm.mov(r8, rax)
}

fn next_sample(asm: &mut Asm) -> Emitted {
    asm.add(r14, SAMPLE.cast_signed())?;
    asm.and(r14, (SAMPLES * SAMPLE - 1).cast_signed())
}

/// Puts address and value into the registers that the write uses.
fn set_up(asm: &mut Asm, bell: &Bell) -> Emitted {
    match bell.address {
        IoAddress::Pio(port) => {
            asm.mov(edx, u32::from(port))?;
            asm.mov(eax, u32::from(bell.value))
        }
        mmio => asm.mov(rcx, mmio.number()),
    }
}

/// The write itself.
fn ring(asm: &mut Asm, bell: &Bell) -> Emitted {
    let value = u32::from(bell.value);
    match (bell.address, bell.width) {
        (IoAddress::Pio(_), Width::W1) => asm.out(dx, al),
        (IoAddress::Pio(_), _) => asm.out(dx, ax),
        (_, Width::W2) => asm.mov(word_ptr(rcx), value),
        _ => asm.mov(dword_ptr(rcx), value),
    }
}

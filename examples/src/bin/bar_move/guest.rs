// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The guest: reads where the BAR is, kicks a queue, counts the kick, and goes on with the next
//! queue.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};

use tiny_guest::iced_x86::code_asm::{qword_ptr, rcx, word_ptr};
use tiny_guest::{Array, Machine, Program, Slot};

use crate::device::{NOTIFY, PLACES, QUEUES};
use crate::mover;

/// What guest and host share.
#[derive(Debug)]
pub(crate) struct Shared {
    bar: Slot,
    rounds: Slot,
    kicks: Array,
    /// Not 0 if the guest must not begin another round.
    stop: Slot,
    over: AtomicBool,
}

impl Shared {
    pub(crate) fn new(machine: &Machine) -> Result<Self, tiny_guest::Error> {
        let shared = Self {
            bar: machine.slot()?,
            rounds: machine.slot()?,
            kicks: machine.array(QUEUES.into())?,
            stop: machine.slot()?,
            over: AtomicBool::new(false),
        };
        shared.bar.store(PLACES[0])?;
        Ok(shared)
    }

    /// The program that kicks each queue `rounds` times.
    pub(crate) fn program(&self, rounds: u32) -> Result<Program, tiny_guest::Error> {
        Program::new(|asm| {
            asm.repeat_until_stopped(rounds, &self.stop, |asm| {
                for queue in 0..u32::from(QUEUES) {
                    let offset = NOTIFY.offset + queue * NOTIFY.multiplier;
                    asm.mov(rcx, qword_ptr(self.bar.address()))?;
                    asm.mov(word_ptr(rcx + offset), queue)?;
                    asm.inc(qword_ptr(self.kicks.address() + u64::from(queue) * 8))?;
                }
                asm.increment(&self.rounds)
            })
        })
    }

    /// How often the guest kicked each queue.
    pub(crate) fn kicks(&self) -> Result<Vec<u64>, tiny_guest::Error> {
        self.kicks.load()
    }

    /// Called when the guest has stopped kicking.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Release);
    }
}

impl mover::Guest for Shared {
    fn publish(&self, bar: u64) -> Result<(), Box<dyn Error>> {
        Ok(self.bar.store(bar)?)
    }

    fn rounds(&self) -> Result<u64, Box<dyn Error>> {
        Ok(self.rounds.load()?)
    }

    fn stop(&self) -> Result<(), Box<dyn Error>> {
        Ok(self.stop.store(1)?)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Pic`]: the two 8259A of a PC, emulated by the VMM.
//!
//! Small: fixed priorities, no polling, no automatic EOI. The second is connected to the third pin
//! of the first, which sees its output as it is at the moment.

mod half;

use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use irqfd::Controller;

use half::{CASCADE, Half};

/// Called when the vCPU is to be interrupted, by the thread that raises the pin.
pub(crate) type Interrupt = Box<dyn Fn() + Send + Sync>;

pub(crate) struct Pic {
    halves: Mutex<[Half; 2]>,
    interrupt: Interrupt,
}

impl Pic {
    pub(crate) fn new(interrupt: Interrupt) -> Self {
        Self {
            halves: Mutex::default(),
            interrupt,
        }
    }

    /// Whether this port belongs to the PICs.
    pub(crate) fn has_port(port: u16) -> bool {
        matches!(port, 0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1)
    }

    /// Handles a write of the guest. Returns the pin whose interrupt it ends.
    pub(crate) fn write(&self, port: u16, value: u8) -> Option<u32> {
        let slave = is_slave(port);
        let mut halves = self.lock();
        let [first, second] = &mut *halves;
        let half = if slave { second } else { first };
        match port {
            0x4d0 | 0x4d1 => {
                half.set_level_triggered(value);
                None
            }
            0x20 | 0xa0 => half.command(value).map(|pin| pin + 8 * u32::from(slave)),
            _ => {
                half.data(value);
                None
            }
        }
    }

    /// Handles a read of the guest.
    pub(crate) fn read(&self, port: u16) -> u8 {
        let halves = self.lock();
        let [first, second] = &*halves;
        let half = if is_slave(port) { second } else { first };
        match port {
            0x4d0 | 0x4d1 => half.level_triggered(),
            0x20 | 0xa0 => half.requests(),
            _ => half.mask(),
        }
    }

    /// The vCPU takes an interrupt, if there is one: returns its vector.
    pub(crate) fn take(&self) -> Option<u8> {
        let mut halves = self.lock();
        let pin = wanted(&halves)?;
        let [first, second] = &mut *halves;
        let vector = first.take(pin);
        match second.wanted(0) {
            Some(pin) if vector == first.vector(CASCADE) => Some(second.take(pin)),
            _ => Some(vector),
        }
    }

    /// Whether the PICs request an interrupt.
    pub(crate) fn is_requesting(&self) -> bool {
        wanted(&self.lock()).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, [Half; 2]> {
        self.halves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Controller for Pic {
    fn set_level(&self, pin: u32, level: bool) -> io::Result<()> {
        let mut halves = self.lock();
        let before = wanted(&halves);
        let [first, second] = &mut *halves;
        match pin {
            0..8 => first.set(pin, level),
            8..16 => second.set(pin - 8, level),
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        }
        let rises = before.is_none() && wanted(&halves).is_some();
        drop(halves);
        if rises {
            (self.interrupt)();
        }
        Ok(())
    }
}

impl fmt::Debug for Pic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pic").field(&*self.lock()).finish()
    }
}

fn is_slave(port: u16) -> bool {
    matches!(port, 0xa0 | 0xa1 | 0x4d1)
}

/// The pin of the first PIC that is taken next.
fn wanted([first, second]: &[Half; 2]) -> Option<u32> {
    let cascade = u8::from(second.wanted(0).is_some()) << CASCADE;
    first.wanted(cascade)
}

#[cfg(test)]
mod tests;

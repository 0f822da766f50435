// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Watch`]: whether the line is as quiet as it must be, and who was told of how many EOIs.

use std::thread;
use std::time::{Duration, Instant};

use crate::device::Device;
use crate::layout::DEVICES;
use crate::session::Machine;
use crate::storm::{Devices, PATIENCE};

/// What has not changed for so long, so many times in a row, is taken to stay.
const STILL: Duration = Duration::from_micros(200);
const LOOKS: u32 = 3;

pub(crate) struct Watch<'a> {
    machine: &'a Machine<'a>,
    /// How many EOIs each device was told of.
    told: [Option<u64>; DEVICES],
    /// EOIs that came while a device was away, or about to be.
    missed: [u64; DEVICES],
    /// All EOIs, when last nothing happened, and when last the devices were asked.
    eois: u64,
    asked: u64,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(machine: &'a Machine<'a>) -> Self {
        Self {
            machine,
            told: [None; DEVICES],
            missed: [0; DEVICES],
            eois: 0,
            asked: 0,
        }
    }

    /// Nobody asserts. Waits until the line is low and no interrupt comes, and answers whether that
    /// happens.
    pub(crate) fn is_quiet(&mut self) -> Result<bool, String> {
        let end = Instant::now() + PATIENCE;
        let Machine { memory, board, .. } = self.machine;
        let (mut looks, mut before) = (0, 0);
        loop {
            let taken = memory.interrupts()?;
            self.eois = memory.eois()?;
            let asserted = board.line.is_asserted();
            let high = (self.machine.pin)()?;
            let quiet = taken == self.eois && !asserted && !high;
            looks = if quiet && taken == before {
                looks + 1
            } else {
                0
            };
            if looks == LOOKS {
                return Ok(true);
            }
            if Instant::now() > end {
                let eois = self.eois;
                eprintln!(
                    "intx: nobody asserts, but the line is asserted: {asserted}, its pin high: {high}; \
                     {taken} interrupts taken, {eois} ended"
                );
                return Ok(false);
            }
            before = taken;
            // Nothing happens either while the vCPU's thread waits for a processor.
            (self.machine.visit)();
            thread::sleep(STILL);
            (self.machine.visit)();
        }
    }

    /// How many EOIs each device was told of.
    pub(crate) fn told(&self) -> [Option<u64>; DEVICES] {
        self.told
    }

    /// By how many EOIs it is wrong what the devices were told.
    pub(crate) fn mistold(&mut self, devices: &Devices<'_>) -> Result<u64, String> {
        let mut wrong = 0;
        self.asked = self.eois;
        let of_devices = self.told.iter_mut().zip(&self.missed).zip(devices);
        for (number, ((told, missed), device)) in of_devices.enumerate() {
            let Some(more) = device.told()? else { continue };
            let told = told.insert(told.unwrap_or(0) + more);
            let expected = self.eois - missed;
            if *told != expected {
                eprintln!("intx: device {number} was told of {told} EOIs instead of {expected}");
            }
            wrong += told.abs_diff(expected);
        }
        Ok(wrong)
    }

    /// A device was away since all were asked, and is back. What it was told since does not count.
    pub(crate) fn was_away(&mut self, number: usize, device: &dyn Device) -> Result<(), String> {
        device.told()?;
        if let Some(missed) = self.missed.get_mut(number) {
            *missed += self.eois - self.asked;
        }
        Ok(())
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Watch`]: whether the line is as quiet as it must be, and how many EOIs each device was
//! signalled.

use std::ops::RangeInclusive;
use std::thread;
use std::time::{Duration, Instant};

use crate::layout::{DEVICES, EXPORTED};
use crate::session::Machine;
use crate::storm::{Devices, PATIENCE};
use crate::{Chip, Irqchip, Run};

/// A state that lasts for this time, so many times in a row, is taken to stay.
const STILL: Duration = Duration::from_micros(200);
const LOOKS: u32 = 3;

pub(crate) struct Watch<'a> {
    machine: &'a Machine<'a>,
    run: Run,
    /// How many EOIs each device was signalled.
    told: [Option<u64>; DEVICES],
    /// The counts at the last look.
    asked: Counted,
    /// The guest's EOIs when last nothing happened.
    eois: u64,
}

/// The events for which holders are signalled.
#[derive(Debug, Default, Clone, Copy)]
struct Counted {
    /// The guest's EOIs.
    eois: u64,
    /// EOIs of the pin that the VMM has seen, where it sees them.
    ended: Option<u64>,
    masks: u64,
    moves: u64,
}

impl Counted {
    fn since(self, before: Self) -> Self {
        let ended = self.ended.map(|ended| ended - before.ended.unwrap_or(0));
        Self {
            eois: self.eois - before.eois,
            ended,
            masks: self.masks - before.masks,
            moves: self.moves - before.moves,
        }
    }

    /// How often each holder must have been signalled meanwhile.
    fn told(self, run: Run, exported_was_away: bool) -> RangeInclusive<u64> {
        match (run.chip, run.irqchip) {
            (Chip::Pic, _) => self.eois..=self.eois,
            // Newer kernels signal the holders when a pin that waits is unmasked, and then wait for
            // them.
            (Chip::Ioapic, Irqchip::Full) => self.eois..=self.eois + self.masks,
            // The EOI of a previous vector of the pin belongs to no line. Each move signals the
            // holders instead, needed or not, while a device is on the line that may have sent an
            // interrupt unseen.
            (Chip::Ioapic, Irqchip::Split) => {
                let ended = self.ended.unwrap_or(0);
                let least = if exported_was_away { 0 } else { self.moves };
                ended + least..=ended + self.moves
            }
        }
    }

    /// How many EOIs too many or too few each device was signalled, except one that was `away`. All
    /// get the same number.
    fn mistold(self, run: Run, told: &[Option<u64>; DEVICES], away: Option<usize>) -> u64 {
        let expected = self.told(run, away == Some(EXPORTED));
        let mut others = None;
        let judged = told
            .iter()
            .enumerate()
            .filter(|(number, _)| away != Some(*number));
        let wrong = judged.filter_map(|(_, told)| *told).map(|told| {
            let nearest = told.clamp(*expected.start(), *expected.end());
            told.abs_diff(*others.get_or_insert(nearest))
        });
        wrong.sum()
    }
}

impl<'a> Watch<'a> {
    pub(crate) fn new(run: Run, machine: &'a Machine<'a>) -> Self {
        Self {
            machine,
            run,
            told: [None; DEVICES],
            asked: Counted::default(),
            eois: 0,
        }
    }

    /// No device asserts. Waits until the line is low and no interrupt comes, and returns whether
    /// that happens.
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
                    "intx: no device asserts, but the line is asserted: {asserted}, its pin high: \
                        {high}; \
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

    /// How many EOIs each device was signalled.
    pub(crate) fn told(&self) -> [Option<u64>; DEVICES] {
        self.told
    }

    /// How many EOIs too many or too few the devices were signalled since the last look. A device
    /// that was `away` meanwhile does not count.
    pub(crate) fn mistold(
        &mut self,
        devices: &Devices<'_>,
        away: Option<usize>,
    ) -> Result<u64, String> {
        let Machine { memory, board, .. } = self.machine;
        let mut told = [None; DEVICES];
        let mut looks = 0;
        let (wrong, now) = loop {
            for (told, device) in told.iter_mut().zip(devices) {
                if let Some(more) = device.told()? {
                    *told = Some(told.unwrap_or(0) + more);
                }
            }
            let now = Counted {
                eois: self.eois,
                ended: board.ended(),
                masks: memory.masks()?,
                moves: memory.moves()?,
            };
            let wrong = now.since(self.asked).mistold(self.run, &told, away);
            looks += 1;
            // A trigger that was in flight for long interrupts after everything was quiet; then
            // nothing has been judged yet.
            let is_late = memory.interrupts()? != self.eois || wrong > 0;
            if !is_late || looks > LOOKS || !self.is_quiet()? {
                break (wrong, now);
            }
        };
        if wrong > 0 {
            let since = now.since(self.asked);
            eprintln!("intx: devices were signalled {told:?} EOIs for {since:?}; away: {away:?}");
        }
        self.asked = now;
        for (all, more) in self.told.iter_mut().zip(told) {
            *all = more.map(|more| all.unwrap_or(0) + more).or(*all);
        }
        Ok(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::TOLD;

    const EXPORTED_AND_TOLD: [Option<u64>; DEVICES] = [None, Some(12), Some(12)];

    fn mistold(
        chip: Chip,
        irqchip: Irqchip,
        told: [Option<u64>; DEVICES],
        away: Option<usize>,
    ) -> u64 {
        let ended = (irqchip == Irqchip::Split).then_some(10);
        let counted = Counted {
            eois: 10,
            ended,
            masks: 2,
            moves: 2,
        };
        counted.mistold(Run { chip, irqchip }, &told, away)
    }

    #[test]
    fn each_controller_tells_as_often_as_it_must() {
        for (chip, irqchip, told, wrong) in [
            (Chip::Pic, Irqchip::Full, 10, 0),
            (Chip::Pic, Irqchip::Split, 11, 2),
            (Chip::Ioapic, Irqchip::Full, 9, 2),
            (Chip::Ioapic, Irqchip::Full, 10, 0),
            (Chip::Ioapic, Irqchip::Full, 12, 0),
            (Chip::Ioapic, Irqchip::Full, 13, 2),
            (Chip::Ioapic, Irqchip::Split, 11, 2),
            (Chip::Ioapic, Irqchip::Split, 12, 0),
            (Chip::Ioapic, Irqchip::Split, 13, 2),
        ] {
            let told = [None, Some(told), Some(told)];
            assert_eq!(
                mistold(chip, irqchip, told, None),
                wrong,
                "{chip:?} {irqchip:?} {told:?}"
            );
        }
    }

    #[test]
    fn all_are_told_alike() {
        let told = [None, Some(11), Some(12)];
        assert_eq!(mistold(Chip::Ioapic, Irqchip::Full, told, None), 1);
    }

    #[test]
    fn whoever_was_away_was_told_of_less_and_without_the_exported_one_moves_need_not_be_told() {
        let [away, told] = [EXPORTED, TOLD].map(Some);
        let less = [None, Some(3), Some(12)];
        assert_eq!(mistold(Chip::Ioapic, Irqchip::Split, less, away), 0);
        assert_eq!(mistold(Chip::Ioapic, Irqchip::Split, less, None), 9);
        let without = [None, Some(0), Some(10)];
        assert_eq!(mistold(Chip::Ioapic, Irqchip::Split, without, away), 0);
        assert_eq!(
            mistold(Chip::Ioapic, Irqchip::Split, EXPORTED_AND_TOLD, told),
            0
        );
    }
}

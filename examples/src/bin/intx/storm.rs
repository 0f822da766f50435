// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The storm: a thread for each device asserts and withdraws at random, in bursts.
//!
//! The guest's handler looks at all devices, so the next interrupt of any device makes up for a
//! lost one. Hence bursts: after each, all devices wait for the guest, and the last assertion
//! depends on its own interrupt alone. And hence bursts of one device, where every assertion does.
//! Now and then a device leaves the line while it asserts, and comes back.

use std::hint::spin_loop;
use std::thread;
use std::time::Duration;

use examples::interrupt;
use examples::progress::Progress;
use examples::random::Random;

use crate::Settings;
use crate::device::Device;
use crate::layout::DEVICES;
use crate::memory::Memory;
use crate::watch::Watch;

/// A burst has up to 2 to the power of one less than this.
const LENGTHS: u32 = 6;
/// One burst in so many is of one device alone.
const ALONE: u32 = 4;
/// A device leaves after one burst in so many.
const LEAVES: u32 = 16;
/// What has not happened within this time does not happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The devices, by number.
pub(crate) type Devices<'a> = [&'a dyn Device; DEVICES];

/// What has happened.
#[derive(Debug, Default)]
pub(crate) struct Storm {
    pub(crate) bursts: u64,
    /// How often a device left while it asserted.
    pub(crate) leaves: u64,
    /// Devices whose last number no handler has acknowledged.
    pub(crate) lost: u64,
    /// Times that the line stayed high, or interrupts kept coming, or a device waited for an EOI,
    /// without reason.
    pub(crate) stuck: u64,
    /// How many EOIs each device was signalled.
    pub(crate) told: [Option<u64>; DEVICES],
    /// How many EOIs too many or too few that was.
    pub(crate) mistold: u64,
}

impl Storm {
    pub(crate) fn is_exact(&self) -> bool {
        self.lost == 0 && self.stuck == 0 && self.mistold == 0
    }
}

/// Asserts `assertions` times, or until something is wrong, or the user ends the run. At the end no
/// device is on the line any more.
pub(crate) fn run(
    devices: &Devices<'_>,
    memory: &dyn Memory,
    watch: &mut Watch<'_>,
    settings: &Settings,
    mut progress: Progress,
) -> Result<Storm, String> {
    let mut random = Random::new(settings.seed, u64::MAX);
    let mut storm = Storm::default();
    let mut left = settings.assertions;
    devices.iter().try_for_each(|device| device.join())?;
    while left > 0 && storm.is_exact() && !interrupt::is_pending() {
        progress.show(settings.assertions - left);
        let alone = random.below(DEVICES as u32 * ALONE) as usize;
        thread::scope(|scope| {
            let mut threads = Vec::new();
            for (number, &device) in devices.iter().enumerate() {
                if alone < DEVICES && alone != number {
                    continue;
                }
                let length = left.min(1 << random.below(LENGTHS));
                left -= length;
                let random =
                    Random::new(settings.seed, storm.bursts * DEVICES as u64 + number as u64);
                threads.push((number, scope.spawn(move || burst(device, length, random))));
            }
            for (number, thread) in threads {
                let settled = thread.join().map_err(|_| "a device's thread panicked")??;
                storm.judge(number, settled, memory)?;
            }
            Ok::<_, String>(())
        })?;
        storm.bursts += 1;
        if storm.is_exact() && random.chance(LEAVES) {
            storm.come_and_go(devices, watch, &mut random)?;
        }
    }
    storm.end(devices, watch, &mut random)?;
    Ok(storm)
}

/// Asserts `length` times, and waits for the guest after the last time. Returns whether the guest
/// handled it.
fn burst(device: &dyn Device, length: u64, mut random: Random) -> Result<bool, String> {
    for left in (0..length).rev() {
        device.raise()?;
        let changes_its_mind = random.chance(4);
        if changes_its_mind || random.chance(4) {
            (0..random.below(4000)).for_each(|_| spin_loop());
        }
        if left > 0 && changes_its_mind && device.withdraw()? {
            continue;
        }
        if random.chance(4) {
            device.add()?;
        }
        if !device.settle(PATIENCE)? {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Storm {
    /// Finds out why a device has waited in vain.
    fn judge(&mut self, device: usize, settled: bool, memory: &dyn Memory) -> Result<(), String> {
        if settled {
            return Ok(());
        }
        let (published, seen) = (memory.published(device)?, memory.acknowledged(device)?);
        eprintln!(
            "intx: device {device}: {published} published, {seen} acknowledged, and it waits"
        );
        match published == seen {
            true => self.stuck += 1,
            false => self.lost += 1,
        }
        Ok(())
    }

    /// One device leaves while it asserts, and comes back.
    fn come_and_go(
        &mut self,
        devices: &Devices<'_>,
        watch: &mut Watch<'_>,
        random: &mut Random,
    ) -> Result<(), String> {
        let number = random.below(DEVICES as u32) as usize;
        let Some(device) = devices.get(number) else {
            return Ok(());
        };
        self.look(devices, watch)?;
        device.raise()?;
        (0..random.below(4000)).for_each(|_| spin_loop());
        device.leave()?;
        self.leaves += 1;
        device.join()?;
        self.stuck += u64::from(!watch.is_quiet()?);
        self.mistold += watch.mistold(devices, Some(number))?;
        Ok(())
    }

    /// All devices leave while they assert, one after the other.
    fn end(
        &mut self,
        devices: &Devices<'_>,
        watch: &mut Watch<'_>,
        random: &mut Random,
    ) -> Result<(), String> {
        self.look(devices, watch)?;
        self.told = watch.told();
        let first = random.below(DEVICES as u32) as usize;
        let in_order = self.is_exact();
        for device in devices.iter().cycle().skip(first).take(DEVICES) {
            // A device whose number was lost still asserts.
            if in_order {
                device.raise()?;
            }
            device.leave()?;
            self.leaves += 1;
            self.stuck += u64::from(!watch.is_quiet()?);
        }
        Ok(())
    }

    /// No device asserts: nothing must happen, and every device that asks for EOIs must have been
    /// signalled all of them.
    fn look(&mut self, devices: &Devices<'_>, watch: &mut Watch<'_>) -> Result<(), String> {
        self.stuck += u64::from(!watch.is_quiet()?);
        self.mistold += watch.mistold(devices, None)?;
        Ok(())
    }
}

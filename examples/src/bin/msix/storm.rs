// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The storm: threads that trigger all vectors as fast as they can, in bursts.
//!
//! Edges merge, so what is checked is not how many interrupts the guest takes. Each trigger first
//! publishes the next number of its vector; the guest's handlers read it. After each burst the storm waits
//! until some handler has seen the last number of every vector, so a burst of one trigger is as good a
//! test as one of a thousand.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use examples::random::Random;

use crate::Settings;
use crate::device::Device;
use crate::layout::VECTORS;

/// How many threads trigger at once.
const THREADS: u64 = 2;
/// A burst of a thread has up to 2 to the power of one less than this.
const LENGTHS: u32 = 12;
/// An interrupt that has not come for so long is lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// The memory that the guest's handlers read and write.
pub(crate) trait Memory: Sync {
    /// Publishes the next number of a vector.
    fn publish(&self, vector: u16) -> Result<(), String>;
    /// The last number that was published.
    fn published(&self, vector: u16) -> Result<u64, String>;
    /// The highest number that a handler has seen.
    fn seen(&self, vector: u16) -> Result<u64, String>;
    /// How many interrupts the guest has taken.
    fn delivered(&self) -> Result<u64, String>;
    /// How many of them were of a vector, but not for the vCPU that took them.
    fn torn(&self) -> Result<u64, String>;
}

/// What has happened.
#[derive(Debug, Default)]
pub(crate) struct Storm {
    pub(crate) triggered: u64,
    /// Of those, how many are known to have found their vector masked.
    pub(crate) kept: u64,
    pub(crate) bursts: u64,
    /// Vectors whose last number no handler has seen.
    pub(crate) lost: u64,
}

/// Triggers so many times, or until an interrupt is lost, or somebody interrupts.
pub(crate) fn run(
    device: &Device,
    memory: &dyn Memory,
    settings: &Settings,
    interrupted: &AtomicBool,
) -> Result<Storm, String> {
    let (triggers, seed) = (settings.triggers, settings.seed);
    let mut lengths = Random::new(seed, u64::MAX);
    let mut storm = Storm::default();
    while storm.triggered < triggers && storm.lost == 0 && !interrupted.load(Ordering::Relaxed) {
        let results: Vec<_> = thread::scope(|scope| {
            let mut threads = Vec::new();
            for thread in 0..THREADS {
                let length = 1 << lengths.below(LENGTHS);
                let length = length.min(triggers - storm.triggered);
                let random = Random::new(seed, storm.bursts * THREADS + thread);
                storm.triggered += length;
                threads.push(scope.spawn(move || burst(device, memory, length, random)));
            }
            threads.into_iter().map(|thread| thread.join()).collect()
        });
        for kept in results {
            storm.kept += kept.map_err(|_| "a thread that triggers panicked")??;
        }
        storm.bursts += 1;
        storm.lost = lost(device, memory)?;
    }
    Ok(storm)
}

/// Triggers vectors at random. Answers how many triggers are known to have been kept.
fn burst(
    device: &Device,
    memory: &dyn Memory,
    length: u64,
    mut random: Random,
) -> Result<u64, String> {
    let mut kept = 0;
    for _ in 0..length {
        let vector = u16::try_from(random.below(VECTORS.into())).unwrap_or(0);
        memory.publish(vector)?;
        kept += u64::from(device.trigger(vector)?);
    }
    Ok(kept)
}

/// Waits for the guest. Answers for how many vectors that was in vain.
fn lost(device: &Device, memory: &dyn Memory) -> Result<u64, String> {
    let start = Instant::now();
    let mut lost = 0;
    for vector in 0..VECTORS {
        let last = memory.published(vector)?;
        while memory.seen(vector)? < last {
            if start.elapsed() > PATIENCE {
                let (seen, known) = (memory.seen(vector)?, device.describe(vector));
                eprintln!("msix: vector {vector}: {last} published, {seen} seen; {known}");
                lost += 1;
                break;
            }
            thread::sleep(Duration::from_micros(20));
        }
    }
    Ok(lost)
}

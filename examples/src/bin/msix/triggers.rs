// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The triggers: rounds, each of a storm and of as many triggers in lock-step beside it.
//!
//! In lock-step the next trigger of a vector comes only after the guest has counted the previous
//! one. No two can coalesce, so the guest must count exactly one interrupt for each trigger.
//!
//! KVM may inject a signal twice if it comes while its irqfd is being assigned: the assignment,
//! which looks at the counter, injects it, and so does the signal. Such a trigger may be counted
//! twice; the report prints how often that was.
//!
//! The triggers of a storm coalesce, so the number of interrupts is not checked. Each trigger first
//! publishes the next number of its vector; the guest's handlers read it. After each burst the host
//! waits until a handler has seen the last number of every vector, so a burst of one trigger is as
//! good a test as one of a thousand.

use std::cmp::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use examples::interrupt;
use examples::progress::Progress;
use examples::random::Random;

use crate::Settings;
use crate::device::Device;
use crate::driver::pick;
use crate::layout::{Part, VECTORS};

/// How many threads trigger at once in a storm.
const THREADS: u64 = 2;
/// A burst of a thread has up to 2 to the power of one less than this.
const LENGTHS: u32 = 12;
/// An interrupt that has not come within this time is lost. On a busy host a commit of routes alone
/// can take seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often each vector is masked after the last trigger.
const MASKS: u64 = 4;
/// How long the host sleeps between two looks at what the guest has counted.
const PAUSE: Duration = Duration::from_micros(20);

/// The memory that the guest's handlers read and write.
pub(crate) trait Memory: Sync {
    /// Publishes the next number of a vector.
    fn publish(&self, vector: u16) -> Result<(), String>;
    /// The last number that was published: how often the vector was triggered.
    fn published(&self, vector: u16) -> Result<u64, String>;
    /// The highest number that a handler has seen.
    fn seen(&self, vector: u16) -> Result<u64, String>;
    /// How many interrupts of a vector the guest has taken.
    fn delivered(&self, vector: u16) -> Result<u64, String>;
    /// How many interrupts were of a vector, but not for the vCPU that took them.
    fn torn(&self) -> Result<u64, String>;
}

/// What has happened, apart from what the guest has counted.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Of the lock-step triggers, how many are known to have found their vector masked.
    pub(crate) lock_step_kept: u64,
    /// The same of the storm.
    pub(crate) storm_kept: u64,
    pub(crate) rounds: u64,
    /// Vectors whose last trigger did not reach the guest in time.
    pub(crate) lost: Vec<u16>,
}

/// Triggers `triggers` times, or until an interrupt is lost or doubled, or the user ends the run.
pub(crate) fn run(
    device: &Device,
    memory: &dyn Memory,
    settings: &Settings,
) -> Result<Outcome, String> {
    let seed = settings.seed;
    let mut lengths = Random::new(seed, u64::MAX);
    let mut outcome = Outcome::default();
    let mut lock_step_left = settings.triggers / 2;
    let mut storm_left = settings.triggers - lock_step_left;
    let mut exact = true;
    let mut progress = Progress::new("triggers", settings.triggers);
    while storm_left > 0 && exact && !interrupt::is_pending() {
        progress.show(settings.triggers - lock_step_left - storm_left);
        let random = |thread| Random::new(seed, outcome.rounds * (THREADS + 1) + thread);
        let (lock_step, storm) = thread::scope(|scope| {
            let mut storm = Vec::new();
            let before = storm_left;
            for thread in 0..THREADS {
                let length = (1 << lengths.below(LENGTHS)).min(storm_left);
                let random = random(thread);
                storm_left -= length;
                storm.push(scope.spawn(move || burst(device, memory, length, random)));
            }
            let length = (before - storm_left).min(lock_step_left);
            lock_step_left -= length;
            let random = random(THREADS);
            let lock_step = scope.spawn(move || lock_step(device, memory, length, random));
            let storm: Vec<_> = storm.into_iter().map(|thread| thread.join()).collect();
            (lock_step.join(), storm)
        });
        outcome.lock_step_kept += lock_step.map_err(|_| "the lock-step thread panicked")??;
        for kept in storm {
            outcome.storm_kept += kept.map_err(|_| "a thread of the storm panicked")??;
        }
        outcome.rounds += 1;
        outcome.lost = lost(device, memory)?;
        exact = outcome.lost.is_empty() && !has_doubled(device, memory)?;
    }
    settle(device)?;
    Ok(outcome)
}

/// Triggers vectors of the storm at random. Returns how many triggers are known to have been kept.
fn burst(
    device: &Device,
    memory: &dyn Memory,
    length: u64,
    mut random: Random,
) -> Result<u64, String> {
    let vectors: Vec<u16> = Part::Storm.vectors().collect();
    let mut kept = 0;
    for _ in 0..length {
        if interrupt::is_pending() {
            break;
        }
        let vector = pick(&vectors, &mut random).ok_or("no vector")?;
        kept += u64::from(trigger(device, memory, vector)?);
    }
    Ok(kept)
}

/// Triggers each lock-step vector after the guest has counted its previous trigger and the vector
/// has rested. Returns how many triggers are known to have been kept.
///
/// Returns early if the guest has counted a trigger twice: later triggers could coalesce and hide
/// that. It is an error if no vector could be triggered for [`PATIENCE`].
fn lock_step(
    device: &Device,
    memory: &dyn Memory,
    length: u64,
    mut random: Random,
) -> Result<u64, String> {
    let mut vectors: Vec<_> = Part::LockStep
        .vectors()
        .map(|vector| (vector, None))
        .collect();
    let first = random.below(u32::from(VECTORS)) as usize % vectors.len();
    vectors.rotate_left(first);
    let (mut kept, mut left) = (0, length);
    let mut progress = Instant::now();
    while left > 0 && progress.elapsed() < PATIENCE && !interrupt::is_pending() {
        for (vector, rest) in &mut vectors {
            // This is read before the count: a second interrupt is counted before the rest ends.
            let is_over = match rest {
                Some(rest) => Rest::is_over(rest, device, *vector)?,
                None => false,
            };
            let expected = expected(device, memory, *vector)?;
            match memory.delivered(*vector)?.cmp(&expected) {
                Ordering::Less => {}
                Ordering::Equal if rest.is_none() => {
                    *rest = Some(Rest::new(device, *vector, &mut random));
                }
                Ordering::Equal if is_over && left > 0 => {
                    kept += u64::from(trigger(device, memory, *vector)?);
                    left -= 1;
                    *rest = None;
                    progress = Instant::now();
                }
                Ordering::Equal => {}
                Ordering::Greater if device.watch.is_doubled_by_kvm(*vector) => {}
                Ordering::Greater => return Ok(kept),
            }
        }
        thread::sleep(PAUSE);
    }
    if left > 0 && !interrupt::is_pending() {
        for (vector, rest) in &vectors {
            let (published, delivered) = (memory.published(*vector)?, memory.delivered(*vector)?);
            let (resting, known) = (rest.is_some(), device.describe(*vector));
            eprintln!(
                "msix: vector {vector}: {published} published, {delivered} delivered, \
                 resting: {resting}; {known}"
            );
        }
        return Err(format!("nothing to trigger in lock-step for {PATIENCE:?}"));
    }
    Ok(kept)
}

/// The time between the count of a trigger and the next trigger of that vector. A second interrupt
/// for the same trigger comes within this time, so that it is not mistaken for the next one.
struct Rest {
    until: Instant,
    /// How often the guest had masked the vector at the start.
    closings: u64,
    /// How many accesses each vCPU had made at the start; unknown until the vector is open.
    accesses: Option<Vec<u64>>,
}

impl Rest {
    /// In some rests the guest also masks and unmasks the vector. KVM may inject a signal of an
    /// irqfd from a work item, at any time later; the deassignment by a mask waits for that.
    fn new(device: &Device, vector: u16, random: &mut Random) -> Self {
        let masks = if random.chance(16) { 2 } else { 0 };
        Self {
            until: Instant::now() + PAUSE,
            closings: device.watch.closings(vector) + masks,
            accesses: None,
        }
    }

    /// What was signalled is injected while the vector is open. A vCPU that then makes two more
    /// accesses has entered the guest once more, and has taken what was injected.
    fn is_over(&mut self, device: &Device, vector: u16) -> Result<bool, String> {
        let Some(accesses) = &self.accesses else {
            if device.is_open(vector)? {
                self.accesses = Some(device.accesses().map(|accesses| accesses + 2).collect());
            }
            return Ok(false);
        };
        let mut accesses = device.accesses().zip(accesses);
        Ok(Instant::now() >= self.until
            && device.watch.closings(vector) >= self.closings
            && accesses.all(|(now, then)| now >= *then))
    }
}

fn trigger(device: &Device, memory: &dyn Memory, vector: u16) -> Result<bool, String> {
    memory.publish(vector)?;
    device
        .watch
        .beside_assignment(vector, || device.trigger(vector))
}

/// How many interrupts of a vector the guest takes if no two of its triggers coalesce.
fn expected(device: &Device, memory: &dyn Memory, vector: u16) -> Result<u64, String> {
    Ok(memory.published(vector)? + device.watch.doubled_by_kvm(vector))
}

/// Whether the guest has counted every trigger of a lock-step vector, or has seen the last number
/// of a vector of the storm.
fn has_arrived(device: &Device, memory: &dyn Memory, vector: u16) -> Result<bool, String> {
    Ok(match Part::of(vector) {
        Part::LockStep => memory.delivered(vector)? >= expected(device, memory, vector)?,
        Part::Storm => memory.seen(vector)? >= memory.published(vector)?,
    })
}

/// Waits until every vector's last trigger has reached the guest. Returns the vectors where it has
/// not within [`PATIENCE`].
fn lost(device: &Device, memory: &dyn Memory) -> Result<Vec<u16>, String> {
    let start = Instant::now();
    let mut lost = Vec::new();
    for vector in 0..VECTORS {
        while !has_arrived(device, memory, vector)? {
            if start.elapsed() > PATIENCE {
                let (published, seen) = (memory.published(vector)?, memory.seen(vector)?);
                let (delivered, known) = (memory.delivered(vector)?, device.describe(vector));
                eprintln!(
                    "msix: vector {vector}: {published} published, {seen} seen, \
                     {delivered} delivered; {known}"
                );
                lost.push(vector);
                break;
            }
            thread::sleep(PAUSE);
        }
    }
    Ok(lost)
}

/// Whether the guest has taken more interrupts of a vector than were triggered, and KVM has not
/// doubled them.
fn has_doubled(device: &Device, memory: &dyn Memory) -> Result<bool, String> {
    for vector in 0..VECTORS {
        while memory.delivered(vector)? > expected(device, memory, vector)? {
            if !device.watch.is_doubled_by_kvm(vector) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Waits until the guest has masked and unmasked every vector a few times more, so that a second
/// interrupt for one of the last triggers is delivered before the guest stops.
fn settle(device: &Device) -> Result<(), String> {
    let closings: Vec<u64> = (0..VECTORS)
        .map(|vector| device.watch.closings(vector))
        .collect();
    for (vector, before) in (0..).zip(closings) {
        let start = Instant::now();
        while device.watch.closings(vector) < before + MASKS {
            if start.elapsed() > PATIENCE {
                return Err(format!("the guest no longer masks vector {vector}"));
            }
            thread::sleep(PAUSE);
        }
    }
    Ok(())
}

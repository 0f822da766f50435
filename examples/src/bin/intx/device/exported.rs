// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Exported`]: a device outside the VMM that has two eventfds and the guest's memory.
//!
//! It cannot de-assert; each EOI does so for it. The device then checks whether the guest has
//! acknowledged its last number, and triggers again if not.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use irqfd::{LevelIrq, LevelLine};
use notify_core::EventNotifier;

use super::told::Told;
use super::{Counts, Device};
use crate::memory::Memory;

pub(crate) struct Exported<'a> {
    number: usize,
    memory: &'a dyn Memory,
    trigger: Arc<EventNotifier>,
    told: Told,
    state: Mutex<State>,
    /// The VMM's part: the line. The device itself does not use it.
    line: &'a LevelLine,
    irq: &'a Mutex<Option<LevelIrq>>,
}

#[derive(Debug, Default)]
struct State {
    published: u64,
    counts: Counts,
}

impl<'a> Exported<'a> {
    /// A device that is not on the line yet. `irq` holds its place on the line once it has one.
    pub(crate) fn new(
        number: usize,
        line: &'a LevelLine,
        irq: &'a Mutex<Option<LevelIrq>>,
        memory: &'a dyn Memory,
    ) -> Result<Self, String> {
        let trigger = EventNotifier::new().map_err(|error| error.to_string())?;
        Ok(Self {
            number,
            memory,
            trigger: Arc::new(trigger),
            told: Told::new()?,
            state: Mutex::default(),
            line,
            irq,
        })
    }

    /// What the device signals.
    pub(crate) fn trigger(&self) -> &Arc<EventNotifier> {
        &self.trigger
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, state: &mut State) -> Result<(), String> {
        state.published += 1;
        self.memory.publish(self.number, state.published)
    }

    fn signal(&self) -> Result<(), String> {
        self.trigger.notify().map_err(|error| error.to_string())
    }

    /// Handles an EOI of the line, for an interrupt of any device.
    fn ended(&self) -> Result<(), String> {
        let mut state = self.lock();
        if !state.counts.is_asserted() {
            return Ok(());
        }
        if self.memory.acknowledged(self.number)? == state.published {
            state.counts.handled += 1;
            return Ok(());
        }
        state.counts.triggered_again += 1;
        self.signal()
    }
}

impl Device for Exported<'_> {
    fn raise(&self) -> Result<(), String> {
        let mut state = self.lock();
        self.publish(&mut state)?;
        state.counts.asserted += 1;
        self.signal()
    }

    fn add(&self) -> Result<(), String> {
        let mut state = self.lock();
        if state.counts.is_asserted() {
            self.publish(&mut state)?;
            state.counts.merged += 1;
        }
        Ok(())
    }

    fn withdraw(&self) -> Result<bool, String> {
        Ok(false)
    }

    fn settle(&self, patience: Duration) -> Result<bool, String> {
        let end = Instant::now() + patience;
        while self.lock().counts.is_asserted() {
            let rest = end.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Ok(false);
            }
            if self.told.wait(rest)? {
                self.ended()?;
            }
        }
        Ok(true)
    }

    fn leave(&self) -> Result<(), String> {
        let irq = self
            .irq
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(irq) = irq {
            irq.leave().map_err(|rejected| rejected.error.to_string())?;
        }
        let mut state = self.lock();
        state.counts.withdraw();
        Ok(())
    }

    fn join(&self) -> Result<(), String> {
        // A trigger that was not taken while the device was away is not wanted any more.
        self.trigger.consume().map_err(|error| error.to_string())?;
        let (trigger, told) = (Arc::clone(&self.trigger), Arc::clone(self.told.notifier()));
        let irq = self.line.join_exported(Some(trigger), told);
        let irq = irq.map_err(|error| error.to_string())?;
        *self.irq.lock().unwrap_or_else(PoisonError::into_inner) = Some(irq);
        Ok(())
    }

    fn counts(&self) -> Counts {
        self.lock().counts
    }

    fn told(&self) -> Result<Option<u64>, String> {
        self.told.take().map(Some)
    }
}

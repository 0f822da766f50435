// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Own`]: a device inside the VMM, which asserts and de-asserts.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use irqfd::{LevelError, LevelIrq, LevelLine};
use notify_core::EventNotifier;

use super::told::Told;
use super::{Counts, Device};
use crate::memory::Memory;

pub(crate) struct Own<'a> {
    number: usize,
    line: &'a LevelLine,
    memory: &'a dyn Memory,
    /// The resample notifier, if the device asks for EOIs.
    told: Option<Told>,
    state: Mutex<State>,
    settled: Condvar,
}

#[derive(Debug, Default)]
struct State {
    irq: Option<LevelIrq>,
    published: u64,
    counts: Counts,
}

impl<'a> Own<'a> {
    /// A device that is not on the line yet.
    pub(crate) fn new(
        number: usize,
        wants_eoi: bool,
        line: &'a LevelLine,
        memory: &'a dyn Memory,
    ) -> Result<Self, String> {
        let told = wants_eoi.then(Told::new).transpose()?;
        Ok(Self {
            number,
            line,
            memory,
            told,
            state: Mutex::default(),
            settled: Condvar::new(),
        })
    }

    /// The guest writes the number that it has seen to the device's register. If that is the last
    /// one, the device de-asserts the line before the guest's write returns, and so before the EOI.
    pub(crate) fn acknowledge(&self, number: u64) -> Result<(), String> {
        let mut state = self.lock();
        if state.counts.is_asserted() && number == state.published {
            state.lower()?;
            state.counts.handled += 1;
            self.settled.notify_all();
        }
        Ok(())
    }

    /// What is signalled at each EOI, if the device asks for EOIs.
    pub(crate) fn notifier(&self) -> Option<&EventNotifier> {
        self.told.as_ref().map(|told| &**told.notifier())
    }

    /// Handles a signal of the resample notifier. It may come without an EOI: a kernel that no
    /// longer knows what holds the pin up signals when the guest unmasks the pin.
    pub(crate) fn was_told(&self) -> Result<(), String> {
        self.told.as_ref().map_or(Ok(()), Told::note)?;
        self.line.reassert().map_err(|error| error.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, state: &mut State) -> Result<(), String> {
        state.published += 1;
        self.memory.publish(self.number, state.published)
    }
}

impl State {
    fn irq(&self) -> Result<&LevelIrq, String> {
        Ok(self
            .irq
            .as_ref()
            .ok_or("a device that is not on the line")?)
    }

    fn lower(&self) -> Result<(), String> {
        self.irq()?.deassert().map_err(|error| error.to_string())
    }
}

impl Device for Own<'_> {
    fn raise(&self) -> Result<(), String> {
        let mut state = self.lock();
        self.publish(&mut state)?;
        state.counts.asserted += 1;
        state.irq()?.assert().map_err(|error| error.to_string())
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
        let mut state = self.lock();
        if state.counts.is_asserted() {
            state.lower()?;
            state.counts.withdrawn += 1;
        }
        Ok(true)
    }

    fn settle(&self, patience: Duration) -> Result<bool, String> {
        let waited = self
            .settled
            .wait_timeout_while(self.lock(), patience, |state| state.counts.is_asserted());
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        Ok(!state.counts.is_asserted())
    }

    fn leave(&self) -> Result<(), String> {
        let mut state = self.lock();
        if let Some(irq) = state.irq.take() {
            irq.leave().map_err(|rejected| rejected.error.to_string())?;
        }
        state.counts.withdraw();
        Ok(())
    }

    fn join(&self) -> Result<(), String> {
        let irq = match &self.told {
            Some(told) => self
                .line
                .join_resampled(told.notifier().clone())
                .map_err(LevelError::from),
            None => self.line.join(),
        };
        self.lock().irq = Some(irq.map_err(|error| error.to_string())?);
        Ok(())
    }

    fn counts(&self) -> Counts {
        self.lock().counts
    }

    fn told(&self) -> Result<Option<u64>, String> {
        self.told.as_ref().map(Told::take).transpose()
    }
}

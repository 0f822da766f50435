// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Own`]: a device of the VMM's own, which asserts and de-asserts.

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
    /// Whether it wants to be told of EOIs.
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
    /// One that is not on the line yet.
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

    /// The guest writes to its register: it has seen this number. If that is the last one, the
    /// device de-asserts the line before the guest's write has returned, and so before the EOI.
    pub(crate) fn acknowledge(&self, number: u64) -> Result<(), String> {
        let mut state = self.lock();
        if state.counts.is_asserted() && number == state.published {
            state.lower()?;
            state.counts.handled += 1;
            self.settled.notify_all();
        }
        Ok(())
    }

    /// What is signalled when it is told of an EOI, if it is.
    pub(crate) fn notifier(&self) -> Option<&EventNotifier> {
        self.told.as_ref().map(|told| &**told.notifier())
    }

    /// It was told. That may be for want of an EOI, because the guest has unmasked the pin of a
    /// kernel that has forgotten who holds it up.
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

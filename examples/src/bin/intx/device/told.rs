// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Told`]: a resample notifier, and how often it was signalled.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify_core::EventNotifier;

#[derive(Debug)]
pub(crate) struct Told {
    notifier: Arc<EventNotifier>,
    /// Signals that were consumed, but not yet returned by `take`.
    count: Mutex<u64>,
}

impl Told {
    pub(super) fn new() -> Result<Self, String> {
        let notifier = EventNotifier::new().map_err(|error| error.to_string())?;
        Ok(Self {
            notifier: Arc::new(notifier),
            count: Mutex::default(),
        })
    }

    pub(super) fn notifier(&self) -> &Arc<EventNotifier> {
        &self.notifier
    }

    /// Waits for an EOI; returns whether there was one.
    pub(super) fn wait(&self, patience: Duration) -> Result<bool, String> {
        let told = self.notifier.wait(Some(patience));
        let told = told.map_err(|error| error.to_string())?;
        self.count(|count| *count += told.map_or(0, u64::from));
        Ok(told.is_some())
    }

    /// Consumes the signals and counts them.
    pub(super) fn note(&self) -> Result<(), String> {
        self.count(|count| self.consume_into(count))
    }

    /// How often it was signalled since the last call.
    pub(super) fn take(&self) -> Result<u64, String> {
        self.count(|count| {
            self.consume_into(count)?;
            Ok(std::mem::take(count))
        })
    }

    /// Under the lock, so that each signal is in the notifier or in the count when another thread
    /// looks.
    fn consume_into(&self, count: &mut u64) -> Result<(), String> {
        let told = self.notifier.consume().map_err(|error| error.to_string())?;
        *count += told.map_or(0, u64::from);
        Ok(())
    }

    fn count<T>(&self, act: impl FnOnce(&mut u64) -> T) -> T {
        act(&mut self.count.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

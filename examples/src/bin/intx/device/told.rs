// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Told`]: a resample notifier, and how often it was signalled.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use notify_core::EventNotifier;

#[derive(Debug)]
pub(crate) struct Told {
    notifier: Arc<EventNotifier>,
    /// What was consumed, and not asked for yet.
    count: AtomicU64,
}

impl Told {
    pub(super) fn new() -> Result<Self, String> {
        let notifier = EventNotifier::new().map_err(|error| error.to_string())?;
        Ok(Self {
            notifier: Arc::new(notifier),
            count: AtomicU64::new(0),
        })
    }

    pub(super) fn notifier(&self) -> &Arc<EventNotifier> {
        &self.notifier
    }

    /// Waits for an EOI; answers whether there was one.
    pub(super) fn wait(&self, patience: Duration) -> Result<bool, String> {
        let told = self.notifier.wait(Some(patience));
        let told = told
            .map_err(|error| error.to_string())?
            .map_or(0, u64::from);
        self.count.fetch_add(told, Ordering::Relaxed);
        Ok(told > 0)
    }

    /// How often it was signalled since the last call.
    pub(super) fn take(&self) -> Result<u64, String> {
        let told = self.notifier.consume().map_err(|error| error.to_string())?;
        let waiting = told.map_or(0, u64::from);
        Ok(self.count.swap(0, Ordering::Relaxed) + waiting)
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`NotifierPair`]: both ends of one queue.

use std::sync::Arc;

use super::EventNotifier;
use crate::Error;

/// The two notifiers of a queue, named as QEMU names them.
///
/// Cloning shares both; the eventfds close when the last clone and the last guard are gone.
#[derive(Debug, Clone)]
pub struct NotifierPair {
    host_notifier: Arc<EventNotifier>,
    guest_notifier: Arc<EventNotifier>,
}

impl NotifierPair {
    /// Two new notifiers.
    ///
    /// # Errors
    ///
    /// [`Error::Create`].
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// A pair of which either end may come from outside.
    pub fn builder() -> NotifierPairBuilder {
        NotifierPairBuilder::default()
    }

    /// The kick: signalled by the guest, taken by the device.
    #[must_use]
    pub fn host_notifier(&self) -> &Arc<EventNotifier> {
        &self.host_notifier
    }

    /// The call: signalled by the device, delivered to the guest.
    #[must_use]
    pub fn guest_notifier(&self) -> &Arc<EventNotifier> {
        &self.guest_notifier
    }
}

/// Builds a [`NotifierPair`]; an end that is not given is created.
#[derive(Debug, Default, Clone)]
#[must_use]
pub struct NotifierPairBuilder {
    host_notifier: Option<Arc<EventNotifier>>,
    guest_notifier: Option<Arc<EventNotifier>>,
}

impl NotifierPairBuilder {
    /// Uses this notifier for kicks.
    pub fn host_notifier(mut self, notifier: Arc<EventNotifier>) -> Self {
        self.host_notifier = Some(notifier);
        self
    }

    /// Uses this notifier for calls.
    pub fn guest_notifier(mut self, notifier: Arc<EventNotifier>) -> Self {
        self.guest_notifier = Some(notifier);
        self
    }

    /// Creates what was not given.
    ///
    /// # Errors
    ///
    /// [`Error::Create`]; the builder still has what it was given.
    pub fn build(&self) -> Result<NotifierPair, Error> {
        let or_new = |given: &Option<Arc<EventNotifier>>| match given {
            Some(notifier) => Ok(Arc::clone(notifier)),
            None => EventNotifier::new().map(Arc::new),
        };
        Ok(NotifierPair {
            host_notifier: or_new(&self.host_notifier)?,
            guest_notifier: or_new(&self.guest_notifier)?,
        })
    }
}

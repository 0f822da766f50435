// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How a notifier is created.

use super::holder::Holder;
use super::{EventFdMode, EventNotifier, fd};
use crate::Error;

/// Creates an [`EventNotifier`] with an initial value, or in semaphore mode.
///
/// ```
/// use notify_core::EventNotifier;
///
/// // QEMU starts its host notifiers already signalled, so that a device looks at its queue once.
/// let kick = EventNotifier::builder().initial(1).build()?;
/// assert!(kick.is_signalled()?);
/// # Ok::<(), notify_core::Error>(())
/// ```
#[derive(Debug, Default, Clone)]
#[must_use]
pub struct EventNotifierBuilder {
    initial: u32,
    semaphore: bool,
    private: bool,
}

impl EventNotifierBuilder {
    /// Sets the first value of the counter (default 0).
    pub fn initial(mut self, value: u32) -> Self {
        self.initial = value;
        self
    }

    /// Makes each read take 1 from the counter instead of all (default false).
    ///
    /// KVM cannot drain such a counter, so it cannot be used as an irqfd.
    pub fn semaphore(mut self, semaphore: bool) -> Self {
        self.semaphore = semaphore;
        self
    }

    /// Declares the notifier private (default false).
    ///
    /// The caller promises that no other process gets the descriptor, and that no code clears its
    /// `O_NONBLOCK`. See [`EventNotifier::declare_private`].
    pub fn private(mut self, private: bool) -> Self {
        self.private = private;
        self
    }

    /// Creates the eventfd, non-blocking and close-on-exec.
    ///
    /// # Errors
    ///
    /// [`Error::Create`].
    pub fn build(self) -> Result<EventNotifier, Error> {
        let eventfd = fd::create(self.initial, self.semaphore).map_err(|error| Error::Create {
            cause: error.into(),
        })?;
        let mode = if self.semaphore {
            EventFdMode::Semaphore
        } else {
            EventFdMode::Counter
        };
        let notifier = EventNotifier::of(Holder::Owned(eventfd), Some(mode));
        // It was created non-blocking.
        Ok(notifier.with_private(self.private))
    }
}

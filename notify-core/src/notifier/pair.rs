// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`NotifierPair`]: both ends of one queue.

use std::sync::Arc;

use super::EventNotifier;
use crate::Error;

/// The two notifiers of a queue, named as QEMU names them.
///
/// Cloning shares both; the eventfds close when the last clone and the last guard are gone. An end
/// that exists already is written into its field:
///
/// ```
/// use std::sync::Arc;
/// use notify_core::{EventNotifier, NotifierPair};
///
/// # let vector_notifier = Arc::new(EventNotifier::new()?);
/// let pair = NotifierPair {
///     host_notifier: Arc::new(EventNotifier::new()?),
///     guest_notifier: vector_notifier,
/// };
/// # Ok::<(), notify_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct NotifierPair {
    /// The kick: signalled by the guest, taken by the device.
    pub host_notifier: Arc<EventNotifier>,
    /// The call: signalled by the device, delivered to the guest.
    pub guest_notifier: Arc<EventNotifier>,
}

impl NotifierPair {
    /// Creates two notifiers.
    ///
    /// # Errors
    ///
    /// [`Error::Create`].
    pub fn new() -> Result<Self, Error> {
        Ok(Self {
            host_notifier: Arc::new(EventNotifier::new()?),
            guest_notifier: Arc::new(EventNotifier::new()?),
        })
    }
}

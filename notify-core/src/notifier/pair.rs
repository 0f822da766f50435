// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`NotifierPair`]: both ends of one queue.

use std::sync::Arc;

use super::EventNotifier;
use crate::Error;

/// The two notifiers of a queue, named as QEMU names them.
///
/// Cloning shares both. The eventfds close when the last clone and the last guard are dropped. To
/// use an end that exists already, write it into its field:
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
    /// The kick: signalled for the guest (by KVM), taken by the device.
    pub host_notifier: Arc<EventNotifier>,
    /// The call: signalled by the device, injected into the guest (by KVM).
    pub guest_notifier: Arc<EventNotifier>,
}

impl NotifierPair {
    /// Creates two notifiers, both with a counter of 0.
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

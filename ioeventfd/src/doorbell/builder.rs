// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How a doorbell is registered.

use std::sync::Arc;

use notify_core::{EventNotifier, Vm};

use super::{IoEventFd, request};
use crate::{Datamatch, Error, IoAddress, Rejected};

/// A doorbell that is not registered; see [`IoEventFd::builder`].
#[derive(Debug)]
pub struct IoEventFdBuilder {
    pub(super) vm: Arc<dyn Vm>,
    pub(super) address: IoAddress,
    pub(super) datamatch: Datamatch,
    pub(super) notifier: Option<Arc<EventNotifier>>,
}

impl IoEventFdBuilder {
    /// Sets the notifier (default: a new one). Several doorbells may share one.
    #[must_use = "a builder registers nothing"]
    pub fn notifier(mut self, notifier: Arc<EventNotifier>) -> Self {
        self.notifier = Some(notifier);
        self
    }

    /// Registers the doorbell: from then on matching writes signal the notifier.
    ///
    /// Issues one KVM_IOEVENTFD. Before Linux 6.18 that blocks for an SRCU grace period.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchWrite`], [`Error::NoAnyWrite`], [`Error::NoNotifier`], [`Error::Taken`],
    /// [`Error::Retired`], [`Error::Refused`]. The builder is returned inside [`Rejected`].
    pub fn assign(self) -> Result<IoEventFd, Rejected<Self>> {
        match self.try_assign() {
            Ok(notifier) => Ok(IoEventFd::registered(self, notifier)),
            Err(error) => Err(Rejected::new(error, self)),
        }
    }

    fn try_assign(&self) -> Result<Arc<EventNotifier>, Error> {
        let (address, datamatch) = (self.address, self.datamatch);
        request::check(&*self.vm, address, datamatch)?;
        let notifier = match &self.notifier {
            Some(notifier) => Arc::clone(notifier),
            None => EventNotifier::new()
                .map(Arc::new)
                .map_err(|cause| Error::NoNotifier { address, cause })?,
        };
        request::register(&*self.vm, address, datamatch, &notifier)?;
        Ok(notifier)
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Doorbell`]: a doorbell that a set shall have.

use std::sync::Arc;

use notify_core::EventNotifier;

use super::kicks::Target;
use crate::bus::Place;
use crate::{Datamatch, IoAddress, IoEventFd};

/// A doorbell that a [`DoorbellSet`](crate::DoorbellSet) shall have: a value, which registers
/// nothing.
///
/// Two doorbells are the same if all four parts are. Different `Arc`s are different notifiers, even
/// for the same eventfd.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Doorbell {
    /// A number that the caller chooses, usually the index of the queue. A queue with two doorbells
    /// (legacy and modern) has the same key and the same notifier in both.
    pub key: u64,
    /// Where it lies.
    pub address: IoAddress,
    /// Which writes ring it.
    pub datamatch: Datamatch,
    /// The notifier that it signals.
    pub notifier: Arc<EventNotifier>,
}

impl Doorbell {
    /// Creates a doorbell from its four parts.
    #[must_use]
    pub fn new(
        key: u64,
        address: IoAddress,
        datamatch: Datamatch,
        notifier: Arc<EventNotifier>,
    ) -> Self {
        Self {
            key,
            address,
            datamatch,
            notifier,
        }
    }

    pub(crate) fn place(&self) -> Place {
        Place::new(self.address, self.datamatch)
    }
}

/// A doorbell that a set has, registered or not.
#[derive(Debug)]
pub(super) struct Bell {
    pub(super) key: u64,
    pub(super) fd: IoEventFd,
}

impl Bell {
    pub(super) fn place(&self) -> Place {
        Place::new(self.fd.address(), self.fd.datamatch())
    }

    pub(super) fn notifier(&self) -> &Arc<EventNotifier> {
        self.fd.notifier()
    }

    /// As exits are matched against it.
    pub(super) fn target(&self, rank: u64) -> Target {
        Target {
            place: self.place(),
            key: self.key,
            notifier: Arc::clone(self.notifier()),
            rank,
        }
    }

    pub(super) fn is(&self, doorbell: &Doorbell) -> bool {
        self.place() == doorbell.place()
            && self.key == doorbell.key
            && Arc::ptr_eq(self.notifier(), &doorbell.notifier)
    }

    pub(super) fn doorbell(&self) -> Doorbell {
        let notifier = Arc::clone(self.notifier());
        Doorbell::new(self.key, self.fd.address(), self.fd.datamatch(), notifier)
    }
}

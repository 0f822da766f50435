// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! To and from the eventfd types that a VMM passes around already.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use vmm_sys_util::event;
use vmm_sys_util::eventfd::EventFd;

use super::{EventNotifier, fd};
use crate::{Error, Rejected};

impl AsRef<EventFd> for EventNotifier {
    fn as_ref(&self) -> &EventFd {
        &self.eventfd
    }
}

impl AsRawFd for EventNotifier {
    fn as_raw_fd(&self) -> RawFd {
        self.eventfd.as_raw_fd()
    }
}

impl TryFrom<OwnedFd> for EventNotifier {
    type Error = Rejected<OwnedFd>;

    /// The same as [`EventNotifier::adopt`].
    fn try_from(fd: OwnedFd) -> Result<Self, Self::Error> {
        Self::adopt(fd)
    }
}

impl TryFrom<EventFd> for EventNotifier {
    type Error = Rejected<EventFd>;

    /// Checked as in [`EventNotifier::adopt`]: an `EventFd` may have been made from any number.
    fn try_from(eventfd: EventFd) -> Result<Self, Self::Error> {
        Self::adopt(fd::transfer(eventfd))
            .map_err(|rejected| Rejected::new(rejected.error, fd::transfer(rejected.value)))
    }
}

impl From<EventNotifier> for EventFd {
    fn from(notifier: EventNotifier) -> Self {
        notifier.eventfd
    }
}

impl From<EventNotifier> for OwnedFd {
    fn from(notifier: EventNotifier) -> Self {
        fd::transfer(notifier.eventfd)
    }
}

impl EventNotifier {
    /// From the two halves that `vmm_sys_util::event::new_event_consumer_and_notifier` makes.
    ///
    /// # Errors
    ///
    /// [`Error::DifferentEventFds`] if they are halves of two eventfds (where the kernel can tell:
    /// `kcmp` may be switched off), and those of [`adopt`](Self::adopt); both come back inside.
    pub fn from_consumer_and_notifier(
        consumer: event::EventConsumer,
        notifier: event::EventNotifier,
    ) -> Result<Self, Rejected<(event::EventConsumer, event::EventNotifier)>> {
        let consumer: OwnedFd = fd::transfer(consumer);
        let notifier: OwnedFd = fd::transfer(notifier);
        let result = if fd::same_file(consumer.as_fd(), notifier.as_fd()) == Some(false) {
            let error = Error::DifferentEventFds {
                consumer: consumer.as_raw_fd(),
                notifier: notifier.as_raw_fd(),
            };
            Err(Rejected::new(error, consumer))
        } else {
            Self::adopt(consumer)
        };
        result.map_err(|rejected| {
            let consumer = fd::transfer(rejected.value);
            Rejected::new(rejected.error, (consumer, fd::transfer(notifier)))
        })
    }

    /// The two halves that `vmm-sys-util` knows, sharing one counter.
    ///
    /// # Errors
    ///
    /// [`Error::Duplicate`]; the notifier comes back inside.
    pub fn into_consumer_and_notifier(
        self,
    ) -> Result<(event::EventConsumer, event::EventNotifier), Rejected<Self>> {
        match fd::duplicate(self.as_fd()) {
            Ok(duplicate) => Ok((fd::transfer(self.eventfd), fd::transfer(duplicate))),
            Err(error) => Err(Rejected::new(error, self)),
        }
    }
}

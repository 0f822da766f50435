// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Conversions to and from the eventfd types of `vmm-sys-util`.

use std::cmp::Ordering;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use vmm_sys_util::event;
use vmm_sys_util::eventfd::EventFd;

use super::holder::Holder;
use super::{EventNotifier, fd};
use crate::{Error, Rejected};

impl From<EventFd> for EventNotifier {
    /// Takes it as it is, without a system call: its flags and counter stay.
    ///
    /// One that was made without `EFD_NONBLOCK` stays blocking; see [`EventNotifier::notify`].
    ///
    /// For a file descriptor from another process use [`adopt`](EventNotifier::adopt), which checks
    /// it.
    fn from(eventfd: EventFd) -> Self {
        Self::of(Holder::Owned(eventfd), None)
    }
}

impl From<Arc<EventFd>> for EventNotifier {
    /// Shares it, without a second file descriptor and without a system call.
    ///
    /// Its flags and counter stay, as for `From<EventFd>`.
    fn from(eventfd: Arc<EventFd>) -> Self {
        Self::of(Holder::Shared(eventfd), None)
    }
}

impl TryFrom<&EventFd> for EventNotifier {
    type Error = Error;

    /// Duplicates it (F_DUPFD_CLOEXEC), which is the only system call.
    ///
    /// Its flags and counter stay, as for `From<EventFd>`.
    ///
    /// # Errors
    ///
    /// [`Error::Duplicate`].
    fn try_from(eventfd: &EventFd) -> Result<Self, Error> {
        let duplicate = fd::duplicate(fd::borrow(eventfd))?;
        Ok(Self::of(duplicate.into(), None))
    }
}

impl AsRef<EventFd> for EventNotifier {
    fn as_ref(&self) -> &EventFd {
        self.holder.get()
    }
}

impl TryFrom<EventNotifier> for EventFd {
    type Error = Rejected<EventNotifier>;

    /// Returns the file descriptor, without a system call.
    ///
    /// If the notifier shares it in an `Arc` with other code, it is duplicated.
    ///
    /// # Errors
    ///
    /// [`Error::Duplicate`]; the notifier comes back inside.
    fn try_from(notifier: EventNotifier) -> Result<Self, Self::Error> {
        notifier.into_owned()
    }
}

/// The two halves that `vmm_sys_util::event::new_event_consumer_and_notifier` makes.
type Halves = (event::EventConsumer, event::EventNotifier);

impl TryFrom<Halves> for EventNotifier {
    type Error = Rejected<Halves>;

    /// Joins the two halves that `vmm_sys_util::event::new_event_consumer_and_notifier` makes.
    ///
    /// # Errors
    ///
    /// [`Error::DifferentEventFds`] if they are halves of two eventfds, as far as the kernel can
    /// tell (`kcmp` may be switched off). Those of [`adopt`](EventNotifier::adopt). Both halves
    /// come back inside.
    fn try_from((consumer, notifier): Halves) -> Result<Self, Self::Error> {
        let consumer: OwnedFd = fd::transfer(consumer);
        let notifier: OwnedFd = fd::transfer(notifier);
        let order = fd::order(consumer.as_fd(), notifier.as_fd());
        let result = if order.is_some_and(Ordering::is_ne) {
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
}

impl TryFrom<EventNotifier> for Halves {
    type Error = Rejected<EventNotifier>;

    /// Splits it into the two halves of `vmm-sys-util`, which share one counter.
    ///
    /// # Errors
    ///
    /// [`Error::Duplicate`]; the notifier comes back inside.
    fn try_from(notifier: EventNotifier) -> Result<Self, Self::Error> {
        match fd::duplicate(notifier.as_fd()) {
            Ok(duplicate) => Ok((
                fd::transfer(notifier.into_owned()?),
                fd::transfer(duplicate),
            )),
            Err(error) => Err(Rejected::new(error, notifier)),
        }
    }
}

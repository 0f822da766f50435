// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Conversions from file descriptors of other origin, and back.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use super::{EventNotifier, examine, fd};
use crate::{Error, Rejected};

impl EventNotifier {
    /// Takes a file descriptor from another process or code, and checks that it is an eventfd.
    ///
    /// For example from a vhost-user peer or a parent process.
    ///
    /// The check needs no `/proc` and does not touch the counter. The descriptor is made
    /// close-on-exec. The open file is made non-blocking, for every process that holds it. Never
    /// blocks.
    ///
    /// A VMM's own `EventFd` needs no check: convert it with `From` or `TryFrom`.
    ///
    /// # Errors
    ///
    /// [`Error::NotEventFd`], [`Error::Examine`]; the file descriptor comes back inside.
    pub fn adopt(fd: OwnedFd) -> Result<Self, Rejected<OwnedFd>> {
        match examine::examine(fd.as_fd()) {
            Ok(mode) => Ok(Self::of(fd.into(), mode)),
            Err(error) => Err(Rejected::new(error, fd)),
        }
    }

    /// Duplicates an eventfd that the caller keeps, and checks it as [`adopt`](Self::adopt) does.
    ///
    /// It takes the `EventFd` of any version of `vmm-sys-util`, and other types. The new notifier
    /// shares its counter.
    ///
    /// The open file becomes non-blocking, also for the caller.
    ///
    /// ```
    /// # use vmm_sys_util::eventfd::EventFd;
    /// use notify_core::EventNotifier;
    ///
    /// let eventfd = EventFd::new(0)?; // of vmm-sys-util 0.14, for instance
    /// let notifier = EventNotifier::adopt_borrowed(&eventfd)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Duplicate`], also if the number is not open, and those of [`adopt`](Self::adopt).
    pub fn adopt_borrowed(fd: &impl AsRawFd) -> Result<Self, Error> {
        let duplicate = fd::duplicate_raw(fd)?;
        Ok(Self::adopt(duplicate)?)
    }

    /// Duplicates the file descriptor; both share one counter.
    ///
    /// For another process, or for an interface that takes an owned one. Within a process share the
    /// notifier in an `Arc` instead: file descriptors are few. Afterwards neither of the two is
    /// [private](Self::declare_private).
    ///
    /// # Errors
    ///
    /// [`Error::Duplicate`].
    pub fn try_clone(&self) -> Result<Self, Error> {
        let duplicate = fd::duplicate(self.as_fd())?;
        self.declare_shared();
        Ok(Self::of(duplicate.into(), self.mode.get().copied()))
    }

    /// Gives the file descriptor away; one that is shared in an `Arc` is duplicated.
    pub(super) fn into_owned(self) -> Result<fd::Owned, Rejected<Self>> {
        let Self {
            holder,
            mode,
            private,
        } = self;
        holder.into_owned().map_err(|(error, holder)| {
            let notifier = Self {
                holder,
                mode,
                private,
            };
            Rejected::new(error, notifier)
        })
    }
}

impl AsRawFd for EventNotifier {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl TryFrom<OwnedFd> for EventNotifier {
    type Error = Rejected<OwnedFd>;

    /// The same as [`EventNotifier::adopt`].
    fn try_from(fd: OwnedFd) -> Result<Self, Self::Error> {
        Self::adopt(fd)
    }
}

impl TryFrom<EventNotifier> for OwnedFd {
    type Error = Rejected<EventNotifier>;

    /// Returns the file descriptor, without a system call.
    ///
    /// If the notifier shares it in an `Arc` with other code, it is duplicated.
    ///
    /// # Errors
    ///
    /// [`Error::Duplicate`]; the notifier comes back inside.
    fn try_from(notifier: EventNotifier) -> Result<Self, Self::Error> {
        notifier.into_owned().map(fd::transfer)
    }
}

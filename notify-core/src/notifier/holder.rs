// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Holder`]: how a notifier has its file descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
#[cfg(feature = "vmm-sys-util")]
use std::sync::Arc;

#[cfg(feature = "vmm-sys-util")]
use vmm_sys_util::eventfd::EventFd;

use super::fd::{self, Owned};
use crate::Error;

/// How a notifier has its file descriptor.
#[derive(Debug)]
pub(super) enum Holder {
    /// It closes it.
    Owned(Owned),
    /// The last of those that share it closes it.
    #[cfg(feature = "vmm-sys-util")]
    Shared(Arc<EventFd>),
}

impl Holder {
    #[inline]
    pub(super) fn get(&self) -> &Owned {
        match self {
            Self::Owned(owned) => owned,
            #[cfg(feature = "vmm-sys-util")]
            Self::Shared(shared) => shared,
        }
    }

    /// Gives the file descriptor away. One that is shared is duplicated; if that fails it comes
    /// back.
    pub(super) fn into_owned(self) -> Result<Owned, (Error, Self)> {
        match self {
            Self::Owned(owned) => Ok(owned),
            #[cfg(feature = "vmm-sys-util")]
            Self::Shared(shared) => match Arc::try_unwrap(shared) {
                Ok(owned) => Ok(owned),
                Err(shared) => match fd::duplicate(fd::borrow(&*shared)) {
                    Ok(duplicate) => Ok(fd::transfer(duplicate)),
                    Err(error) => Err((error, Self::Shared(shared))),
                },
            },
        }
    }
}

impl AsFd for Holder {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        fd::borrow(self.get())
    }
}

impl From<OwnedFd> for Holder {
    fn from(fd: OwnedFd) -> Self {
        Self::Owned(fd::transfer(fd))
    }
}

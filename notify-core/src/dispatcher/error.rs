// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Why an operation on a dispatcher failed.

use std::os::fd::RawFd;

use super::Token;
use crate::{Rejected, SysError};

/// Why an operation on a dispatcher failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel created no epoll instance or no eventfd. The usual reasons are EMFILE and ENFILE.
    #[error("cannot create a dispatcher: {cause}")]
    #[non_exhaustive]
    Create {
        /// What the kernel returned.
        cause: SysError,
    },

    /// This file descriptor has a handler already.
    ///
    /// A duplicate of it is another file descriptor and may have one, too. The first of the two
    /// handlers to be called then takes a signal.
    #[error("file descriptor {fd} has a handler already; remove that one first")]
    #[non_exhaustive]
    AlreadyAdded {
        /// Its number.
        fd: RawFd,
    },

    /// The file descriptor cannot be watched.
    ///
    /// - ENOSPC: the user's limit in `/proc/sys/fs/epoll/max_user_watches` is reached.
    /// - EPERM: epoll does not watch this kind of file, for example a regular file.
    #[error("cannot watch file descriptor {fd}: {cause}")]
    #[non_exhaustive]
    Watch {
        /// Its number.
        fd: RawFd,
        /// What the kernel returned.
        cause: SysError,
    },

    /// The handler was removed, or has failed.
    #[error("handler {token} was removed, or it has failed")]
    #[non_exhaustive]
    NoHandler {
        /// The token of the handler.
        token: Token,
    },

    /// The token was returned by another dispatcher.
    #[error("handler {token} belongs to another dispatcher; use a handle of that one")]
    #[non_exhaustive]
    OtherDispatcher {
        /// The token that was given.
        token: Token,
    },

    /// All 2^32 - 1 places for handlers are taken.
    #[error("there is no place for another handler")]
    Full,

    /// The dispatcher runs already: on another thread, or on this one, which is in a handler.
    #[error("the dispatcher is running already; one thread at a time can run it")]
    AlreadyRunning,

    /// The dispatcher was dropped.
    #[error("the dispatcher was dropped")]
    Gone,

    /// The dispatcher belongs to the parent process.
    ///
    /// This process was forked from it, and shares the epoll instance: a change of it would take
    /// effect in the parent.
    #[error("the dispatcher belongs to the parent process; create another one in this process")]
    Inherited,

    /// The wait for signals failed.
    #[error("cannot wait for signals: {cause}")]
    #[non_exhaustive]
    Wait {
        /// What the kernel returned.
        cause: SysError,
    },

    /// The thread that runs the dispatcher could not be woken.
    #[error("cannot wake the dispatcher: {cause}")]
    #[non_exhaustive]
    Wake {
        /// What the kernel returned.
        cause: SysError,
    },

    /// The notifier's counter could not be read.
    #[error(transparent)]
    Notifier(#[from] crate::Error),
}

impl Error {
    /// Returns the errno, if a system call failed.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Create { cause }
            | Self::Watch { cause, .. }
            | Self::Wait { cause }
            | Self::Wake { cause } => cause.raw_os_error(),
            Self::Notifier(error) => error.raw_os_error(),
            Self::AlreadyAdded { .. }
            | Self::NoHandler { .. }
            | Self::OtherDispatcher { .. }
            | Self::Full
            | Self::AlreadyRunning
            | Self::Gone
            | Self::Inherited => None,
        }
    }
}

impl<T> From<Rejected<T, Error>> for Error {
    fn from(rejected: Rejected<T, Error>) -> Self {
        rejected.error
    }
}

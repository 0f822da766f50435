// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What can go wrong with a dispatcher.

use std::io;
use std::os::fd::RawFd;

use super::Token;
use crate::Rejected;

/// Why an operation on a dispatcher failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel gave no epoll instance or no eventfd; EMFILE and ENFILE are the usual reasons.
    #[error("cannot create a dispatcher")]
    Create(#[source] io::Error),

    /// This very file descriptor has a handler already. A duplicate of it may have one, too: it is
    /// another file descriptor, and the first of the two handlers to be called takes a signal.
    #[error("file descriptor {fd} has a handler already")]
    AlreadyAdded {
        /// Its number.
        fd: RawFd,
    },

    /// The file descriptor cannot be watched. ENOSPC: the user's limit in
    /// `/proc/sys/fs/epoll/max_user_watches` is reached. EPERM: its file is of a kind that epoll
    /// does not watch, such as a regular file.
    #[error("cannot watch file descriptor {fd}")]
    Watch {
        /// Its number.
        fd: RawFd,
        /// What the kernel said.
        source: io::Error,
    },

    /// The token names no handler: it was removed, it failed, or it is of another dispatcher.
    #[error("there is no handler {token:?}")]
    NoHandler {
        /// The name that was given.
        token: Token,
    },

    /// All 2^32 - 1 places for handlers are taken.
    #[error("there is no place for another handler")]
    Full,

    /// Another thread runs the dispatcher, or this one does and is in a handler.
    #[error("the dispatcher is running already")]
    AlreadyRunning,

    /// The dispatcher was dropped.
    #[error("the dispatcher is gone")]
    Gone,

    /// The dispatcher belongs to the parent process. This one was forked from it, and shares the
    /// epoll instance: what it did there would be done to the parent.
    #[error("the dispatcher belongs to the parent process: create another one in this process")]
    Inherited,

    /// The kernel could not be asked what is ready.
    #[error("cannot wait for notifiers")]
    Wait(#[source] io::Error),

    /// The thread that runs the dispatcher could not be woken.
    #[error("cannot wake the dispatcher")]
    Wake(#[source] io::Error),

    /// The notifier's counter could not be read.
    #[error(transparent)]
    Notifier(#[from] crate::Error),
}

impl<T> From<Rejected<T, Error>> for Error {
    fn from(rejected: Rejected<T, Error>) -> Self {
        rejected.error
    }
}

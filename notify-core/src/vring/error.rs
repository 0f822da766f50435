// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`VringError`].

use crate::{Error, Rejected, SysError};

/// Why an operation on [`Vrings`](super::Vrings) failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VringError {
    /// One eventfd has two uses.
    ///
    /// As the kick of two rings, it would wake both for each kick. As kick and call, the back-end
    /// would wake itself by its own completions.
    #[error("ring {ring} uses an eventfd that ring {other} already has; give each its own")]
    #[non_exhaustive]
    SharedNotifier {
        /// The ring whose pair was refused.
        ring: usize,
        /// The ring that has the eventfd; the same number if kick and call are one eventfd.
        other: usize,
    },

    /// The kick is in semaphore mode.
    ///
    /// One read takes one signal of several, so `stop` could not clear it.
    #[error("the kick of ring {ring} is in semaphore mode; give it an eventfd that counts")]
    #[non_exhaustive]
    Semaphore {
        /// The ring whose pair was refused.
        ring: usize,
    },

    /// A process that shares the eventfd fills its counter as fast as it is read.
    #[error("a process that shares the eventfd keeps its counter full; abandon that back-end")]
    KeptFull,

    /// There is no ring of this number.
    #[error("there is no ring {ring}, only {rings} of them")]
    #[non_exhaustive]
    NoSuchRing {
        /// The number that was given.
        ring: usize,
        /// The number of rings.
        rings: usize,
    },

    /// A back-end has the rings. Call `stop` or `abandon` first.
    #[error("the rings have a back-end; stop or abandon it first")]
    Started,

    /// No back-end has the rings. Call `start` first.
    #[error("the rings have no back-end; start one first")]
    NotStarted,

    /// The back-end refused one of a ring's eventfds.
    #[error("the back-end refused the {notifier} eventfd of ring {ring}: {cause}")]
    #[non_exhaustive]
    SetNotifier {
        /// "kick", "call" or "error".
        notifier: &'static str,
        /// The ring.
        ring: usize,
        /// The error of the request.
        cause: SysError,
    },

    /// The back-end did not start.
    #[error("the back-end did not start: {cause}")]
    #[non_exhaustive]
    Start {
        /// The error of the request.
        cause: SysError,
    },

    /// The back-end did not confirm that it stopped. If it has died, call `abandon`.
    #[error("the back-end did not confirm that it stopped (if it has died, abandon it): {cause}")]
    #[non_exhaustive]
    Stop {
        /// The error of the request.
        cause: SysError,
    },

    /// The back-end stopped, but did not return one base for each ring. Call `abandon`.
    #[error("the back-end returned {bases} bases for {rings} rings; abandon it")]
    #[non_exhaustive]
    WrongBases {
        /// The number of bases that it returned.
        bases: usize,
        /// The number of rings.
        rings: usize,
    },

    /// An eventfd could not be created, read or written.
    #[error(transparent)]
    Notifier(#[from] Error),
}

impl VringError {
    /// Returns the errno, if a system call or a request to the back-end failed with one.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::SetNotifier { cause, .. } | Self::Start { cause } | Self::Stop { cause } => {
                cause.raw_os_error()
            }
            Self::Notifier(error) => error.raw_os_error(),
            Self::SharedNotifier { .. }
            | Self::Semaphore { .. }
            | Self::KeptFull
            | Self::NoSuchRing { .. }
            | Self::Started
            | Self::NotStarted
            | Self::WrongBases { .. } => None,
        }
    }
}

impl<T> From<Rejected<T, VringError>> for VringError {
    fn from(rejected: Rejected<T, VringError>) -> Self {
        rejected.error
    }
}

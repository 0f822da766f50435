// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Why an operation on a notifier failed.

use std::io;
use std::os::fd::RawFd;

use crate::Rejected;

/// Why an operation on a notifier, or the adoption of a file descriptor, failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel gave no new eventfd; EMFILE and ENFILE are the usual reasons.
    #[error("cannot create an eventfd")]
    Create(#[source] io::Error),

    /// The file descriptor is open, but it is something else; or the kernel is older than 5.8,
    /// whose eventfds cannot be told from other files.
    #[error("file descriptor {fd} is not an eventfd")]
    NotEventFd {
        /// The number that was offered.
        fd: RawFd,
    },

    /// The file descriptor could not be looked at, or its flags could not be changed; EPERM or
    /// ENOSYS if a system-call filter refuses `preadv2` or `fcntl`.
    #[error("cannot examine file descriptor {fd}")]
    Examine {
        /// The number that was offered.
        fd: RawFd,
        /// What the kernel said.
        source: io::Error,
    },

    /// The file descriptor could not be duplicated; EMFILE is the usual reason.
    #[error("cannot duplicate file descriptor {fd}")]
    Duplicate {
        /// The one to be duplicated.
        fd: RawFd,
        /// What the kernel said.
        source: io::Error,
    },

    /// A consumer and a notifier of two different eventfds were offered as one.
    #[error("file descriptors {consumer} and {notifier} are not the same eventfd")]
    DifferentEventFds {
        /// The read half's number.
        consumer: RawFd,
        /// The write half's number.
        notifier: RawFd,
    },

    /// The counter could not be written.
    #[error("cannot signal eventfd {fd}")]
    Notify {
        /// The eventfd.
        fd: RawFd,
        /// What the kernel said.
        source: io::Error,
    },

    /// The counter could not be read. EOPNOTSUPP: the kernel is older than 5.8.
    #[error("cannot read eventfd {fd}")]
    Consume {
        /// The eventfd.
        fd: RawFd,
        /// What the kernel said.
        source: io::Error,
    },

    /// The eventfd could not be polled.
    #[error("cannot poll eventfd {fd}")]
    Poll {
        /// The eventfd.
        fd: RawFd,
        /// What the kernel said.
        source: io::Error,
    },

    /// The file descriptor is open, but it is no KVM virtual machine, or it belongs to another
    /// process (EIO: KVM serves only the address space that created the machine).
    #[error("file descriptor {fd} is not a KVM virtual machine of this process")]
    NotVm {
        /// The number that was offered.
        fd: RawFd,
        /// What the kernel said.
        source: io::Error,
    },

    /// The file descriptor is open, but it is no KVM vCPU, or it belongs to another process (EIO).
    #[error("file descriptor {fd} is not a KVM vCPU of this process")]
    NotVcpu {
        /// The number that was offered.
        fd: RawFd,
        /// What the kernel said.
        source: io::Error,
    },
}

impl<T> From<Rejected<T, Error>> for Error {
    fn from(rejected: Rejected<T, Error>) -> Self {
        rejected.error
    }
}

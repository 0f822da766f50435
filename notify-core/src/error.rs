// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Why an operation on a notifier failed.

use std::os::fd::RawFd;

use crate::{Rejected, SysError};

/// Why an operation on a notifier, or the adoption of a file descriptor, failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel created no eventfd. The usual reasons are EMFILE and ENFILE.
    #[error("cannot create an eventfd: {cause}")]
    #[non_exhaustive]
    Create {
        /// What the kernel returned.
        cause: SysError,
    },

    /// The file descriptor is open, but is not an eventfd.
    ///
    /// Kernels older than 5.8 give this error for eventfds too, since there they look like other
    /// files.
    #[error("file descriptor {fd} is not an eventfd, or the kernel is older than Linux 5.8")]
    #[non_exhaustive]
    NotEventFd {
        /// The number that was offered.
        fd: RawFd,
    },

    /// The file descriptor could not be examined, or its flags could not be changed.
    ///
    /// EPERM or ENOSYS mean that a system call filter refuses `preadv2`, `writev` or `fcntl`.
    #[error("cannot examine file descriptor {fd}: {cause}")]
    #[non_exhaustive]
    Examine {
        /// The number that was offered.
        fd: RawFd,
        /// What the kernel returned.
        cause: SysError,
    },

    /// The file descriptor could not be duplicated. The usual reason is EMFILE.
    #[error("cannot duplicate file descriptor {fd}: {cause}")]
    #[non_exhaustive]
    Duplicate {
        /// The number of the original.
        fd: RawFd,
        /// What the kernel returned.
        cause: SysError,
    },

    /// A consumer and a notifier of two different eventfds were offered as one.
    #[error("file descriptors {consumer} and {notifier} are not the same eventfd")]
    #[non_exhaustive]
    DifferentEventFds {
        /// The read half's number.
        consumer: RawFd,
        /// The write half's number.
        notifier: RawFd,
    },

    /// The counter could not be written.
    #[error("cannot signal eventfd {fd}: {cause}")]
    #[non_exhaustive]
    Notify {
        /// The eventfd.
        fd: RawFd,
        /// What the kernel returned.
        cause: SysError,
    },

    /// The counter could not be read. EOPNOTSUPP: the kernel is older than 5.8.
    #[error("cannot read eventfd {fd}: {cause}")]
    #[non_exhaustive]
    Consume {
        /// The eventfd.
        fd: RawFd,
        /// What the kernel returned.
        cause: SysError,
    },

    /// The eventfd could not be polled.
    #[error("cannot poll eventfd {fd}: {cause}")]
    #[non_exhaustive]
    Poll {
        /// The eventfd.
        fd: RawFd,
        /// What the kernel returned.
        cause: SysError,
    },

    /// The file descriptor is open, but is not a KVM VM of this process.
    ///
    /// EIO: it is the VM of another process; KVM serves only the address space that created the VM.
    #[error("file descriptor {fd} is not a KVM VM of this process: {cause}")]
    #[non_exhaustive]
    NotVm {
        /// The number that was offered.
        fd: RawFd,
        /// What the kernel returned.
        cause: SysError,
    },

    /// The file descriptor is open, but is not a KVM vCPU of this process (EIO: of another
    /// process).
    #[error("file descriptor {fd} is not a KVM vCPU of this process: {cause}")]
    #[non_exhaustive]
    NotVcpu {
        /// The number that was offered.
        fd: RawFd,
        /// What the kernel returned.
        cause: SysError,
    },
}

impl Error {
    /// Returns the errno, if a system call failed.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Create { cause }
            | Self::Examine { cause, .. }
            | Self::Duplicate { cause, .. }
            | Self::Notify { cause, .. }
            | Self::Consume { cause, .. }
            | Self::Poll { cause, .. }
            | Self::NotVm { cause, .. }
            | Self::NotVcpu { cause, .. } => cause.raw_os_error(),
            Self::NotEventFd { .. } | Self::DifferentEventFds { .. } => None,
        }
    }
}

impl<T> From<Rejected<T, Error>> for Error {
    fn from(rejected: Rejected<T, Error>) -> Self {
        rejected.error
    }
}

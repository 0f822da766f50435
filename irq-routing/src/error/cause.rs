// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The errno of an [`Error`]: what the kernel or the VM has returned.

use notify_core::SysError;

use super::Error;

impl Error {
    /// Returns the errno with which the kernel or the VM has refused the operation, if it has.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        self.cause().and_then(SysError::raw_os_error)
    }

    /// Returns whether the error is temporary: the same call may succeed later.
    ///
    /// The kernel was short of a resource (ENOMEM, EMFILE, ENFILE, ENOSPC), was interrupted
    /// (EINTR), or is not ready yet (EAGAIN).
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused { cause, .. } | Self::Limit { cause } | Self::Platform { cause } => {
                is_temporary(cause)
            }
            _ => false,
        }
    }

    fn cause(&self) -> Option<&SysError> {
        match self {
            Self::Limit { cause }
            | Self::Platform { cause }
            | Self::OtherPlatform { cause, .. }
            | Self::Untranslated { cause, .. }
            | Self::Refused { cause, .. } => Some(cause),
            Self::NoIrqChip { cause } => cause.as_ref(),
            _ => None,
        }
    }
}

pub(super) fn is_temporary(cause: &SysError) -> bool {
    matches!(
        cause.raw_os_error(),
        Some(
            libc::ENOMEM | libc::EAGAIN | libc::EINTR | libc::EMFILE | libc::ENFILE | libc::ENOSPC
        )
    )
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which step of enabling or disabling an INTx interrupt failed.

use std::io;

use notify_core::SysError;

use crate::LevelError;

/// Why the INTx interrupt of a passed-through device is not enabled, or not disabled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IntxError {
    /// [`IntxDevice::mask`](super::IntxDevice::mask) failed.
    #[error("cannot mask the INTx interrupt of a device: {cause}")]
    #[non_exhaustive]
    Mask {
        /// What the device returned.
        cause: SysError,
    },

    /// [`IntxDevice::unmask`](super::IntxDevice::unmask) failed.
    #[error("cannot unmask the INTx interrupt of a device: {cause}")]
    #[non_exhaustive]
    Unmask {
        /// What the device returned.
        cause: SysError,
    },

    /// [`IntxDevice::set_trigger`](super::IntxDevice::set_trigger) failed.
    #[error("cannot change the trigger of a device's INTx interrupt: {cause}")]
    #[non_exhaustive]
    SetTrigger {
        /// What the device returned.
        cause: SysError,
    },

    /// [`IntxDevice::set_unmask`](super::IntxDevice::set_unmask) failed.
    #[error("cannot change the eventfd that unmasks a device's INTx interrupt: {cause}")]
    #[non_exhaustive]
    SetUnmask {
        /// What the device returned.
        cause: SysError,
    },

    /// A notifier cannot be created or emptied.
    #[error("a notifier of an INTx interrupt: {0}")]
    Notifier(notify_core::Error),

    /// The device cannot join its line, or leave it.
    #[error("the line of an INTx interrupt: {0}")]
    Line(LevelError),
}

impl IntxError {
    pub(super) fn mask(error: io::Error) -> Self {
        let cause = error.into();
        Self::Mask { cause }
    }

    pub(super) fn unmask(error: io::Error) -> Self {
        let cause = error.into();
        Self::Unmask { cause }
    }

    pub(super) fn set_trigger(error: io::Error) -> Self {
        let cause = error.into();
        Self::SetTrigger { cause }
    }

    pub(super) fn set_unmask(error: io::Error) -> Self {
        let cause = error.into();
        Self::SetUnmask { cause }
    }

    /// Returns the errno, if the cause is a system call.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Mask { cause }
            | Self::Unmask { cause }
            | Self::SetTrigger { cause }
            | Self::SetUnmask { cause } => cause.raw_os_error(),
            Self::Notifier(error) => error.raw_os_error(),
            Self::Line(error) => error.raw_os_error(),
        }
    }
}

impl From<notify_core::Error> for IntxError {
    fn from(error: notify_core::Error) -> Self {
        Self::Notifier(error)
    }
}

impl From<LevelError> for IntxError {
    fn from(error: LevelError) -> Self {
        Self::Line(error)
    }
}

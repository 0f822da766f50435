// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which step of enabling or disabling an INTx interrupt failed.

use std::fmt;

use notify_core::SysError;

use crate::LevelError;

/// Why the INTx interrupt of a passed-through device is not enabled, or not disabled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IntxError {
    /// The device refused.
    #[error("cannot {step}: {cause}")]
    #[non_exhaustive]
    Device {
        /// What it was asked for.
        step: IntxStep,
        /// What it returned.
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
    /// Returns the errno, if the cause is a system call.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Device { cause, .. } => cause.raw_os_error(),
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

/// What a device is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IntxStep {
    /// To mask its interrupt.
    Mask,
    /// To unmask it.
    Unmask,
    /// To signal a trigger, or none.
    Trigger,
    /// To let an eventfd unmask it, or none.
    UnmaskBy,
}

impl fmt::Display for IntxStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mask => "mask the INTx interrupt of a device",
            Self::Unmask => "unmask the INTx interrupt of a device",
            Self::Trigger => "change the trigger of a device's INTx interrupt",
            Self::UnmaskBy => "change the eventfd that unmasks a device's INTx interrupt",
        })
    }
}

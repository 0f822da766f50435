// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Failure`]: an error or a panic, and calls of foreign code that contain its panics.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::Error;

/// Why a request has failed.
#[derive(Debug)]
pub(crate) enum Failure {
    Error(Error),
    /// The translation or the VM panicked. The panic is resumed in the caller of the request.
    Panic(Panic),
}

pub(crate) type Panic = Box<dyn Any + Send>;

impl Failure {
    /// Whether one edit of many may be the cause, so that the others are tried without it.
    pub(crate) fn is_of_one(&self) -> bool {
        match self {
            Self::Panic(_) => true,
            Self::Error(error) => {
                matches!(error, Error::Refused { .. } | Error::TableFull { .. })
                    && !error.is_transient()
            }
        }
    }
}

/// Calls the translation or the VM. A panic must reach only the caller whose request caused it.
pub(crate) fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(call)).map_err(Failure::Panic)
}

/// Drops a failure that is returned to no caller. A value in it that comes from the translation or
/// the VM may panic when dropped.
pub(crate) fn discard<T>(failure: T) {
    if let Err(panic) = guarded(|| drop(failure)) {
        std::mem::forget(panic);
    }
}

/// Returns the error to the caller, or resumes the panic.
pub(crate) fn raise(failure: Failure) -> Result<(), Error> {
    match failure {
        Failure::Error(error) => Err(error),
        Failure::Panic(payload) => resume_unwind(payload),
    }
}

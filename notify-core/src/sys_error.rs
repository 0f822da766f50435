// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`SysError`]: the error of a system call, or of the port.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::sync::Arc;

/// The error of a system call or of the [port](crate::Vm): an errno, or another [`io::Error`].
///
/// Unlike [`io::Error`] it can be cloned and compared, so the errors that hold one can be, too. Two
/// are equal if they have the same errno, or, without one, the same [kind](Self::kind). The text is
/// that of the `io::Error`, with the errno at its end.
///
/// ```
/// use notify_core::SysError;
///
/// let busy = SysError::from(std::io::Error::from_raw_os_error(16));
/// assert_eq!(busy.raw_os_error(), Some(16));
/// assert!(busy.to_string().ends_with("(os error 16)"));
/// ```
#[derive(Clone)]
pub struct SysError(Repr);

#[derive(Clone)]
enum Repr {
    Os(i32),
    Other(Arc<io::Error>),
}

impl SysError {
    /// Returns the errno, if there is one.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self.0 {
            Repr::Os(errno) => Some(errno),
            Repr::Other(_) => None,
        }
    }

    /// The `io::Error` without an errno.
    pub(crate) fn other(&self) -> Option<&io::Error> {
        match &self.0 {
            Repr::Os(_) => None,
            Repr::Other(error) => Some(error),
        }
    }

    /// Returns the kind of the `io::Error`.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match &self.0 {
            Repr::Os(errno) => io::Error::from_raw_os_error(*errno).kind(),
            Repr::Other(error) => error.kind(),
        }
    }
}

impl From<io::Error> for SysError {
    fn from(error: io::Error) -> Self {
        Self(match error.raw_os_error() {
            Some(errno) => Repr::Os(errno),
            None => Repr::Other(Arc::new(error)),
        })
    }
}

/// Keeps the errno, or else the kind and the text.
impl From<SysError> for io::Error {
    fn from(error: SysError) -> Self {
        match error.0 {
            Repr::Os(errno) => Self::from_raw_os_error(errno),
            Repr::Other(other) => match Arc::try_unwrap(other) {
                Ok(sole) => sole,
                Err(shared) => Self::new(shared.kind(), SysError(Repr::Other(shared))),
            },
        }
    }
}

impl PartialEq for SysError {
    fn eq(&self, other: &Self) -> bool {
        (self.raw_os_error(), self.kind()) == (other.raw_os_error(), other.kind())
    }
}

impl Eq for SysError {}

impl Hash for SysError {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.raw_os_error(), self.kind()).hash(state);
    }
}

impl fmt::Debug for SysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Os(errno) => io::Error::from_raw_os_error(*errno).fmt(f),
            Repr::Other(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for SysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Os(errno) => fmt::Display::fmt(&io::Error::from_raw_os_error(*errno), f),
            Repr::Other(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for SysError {}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Rejected`]: the error of a failed call, with the value that the call had consumed.

use std::error::Error as StdError;
use std::fmt;

use crate::Error;

/// The error of a failed call that consumed a value, with that value, unchanged.
///
/// `?` converts it into the error alone, and drops the value. The target is the error type `E`, or
/// `Box<dyn Error>` with or without `Send + Sync`, or, with the feature `anyhow`, `anyhow::Error`.
///
/// It does not implement `Error` itself: boxed as one, it would keep the value's file descriptors
/// and VM open for as long as the report lives.
///
/// ```
/// use std::error::Error;
/// use std::os::fd::OwnedFd;
///
/// use notify_core::EventNotifier;
///
/// fn adopt(fd: OwnedFd) -> Result<EventNotifier, Box<dyn Error + Send + Sync>> {
///     Ok(EventNotifier::try_from(fd)?) // closes `fd` if it is no eventfd
/// }
///
/// let file = OwnedFd::from(std::fs::File::open("/dev/null")?);
/// assert!(adopt(file.try_clone()?).is_err());
///
/// let rejected = EventNotifier::try_from(file).unwrap_err();
/// let _file = rejected.value; // still open
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Rejected<T, E = Error> {
    /// Why the call failed.
    pub error: E,
    /// What the call had consumed, unchanged.
    pub value: T,
}

impl<T, E> Rejected<T, E> {
    /// Creates one from the error and the value that the failed call gives back.
    pub fn new(error: E, value: T) -> Self {
        Self { error, value }
    }
}

/// Prints the error; the value need not be `Debug`.
impl<T, E: fmt::Debug> fmt::Debug for Rejected<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

/// Prints the text of the error.
impl<T, E: fmt::Display> fmt::Display for Rejected<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<'a, T, E: StdError + 'a> From<Rejected<T, E>> for Box<dyn StdError + 'a> {
    fn from(rejected: Rejected<T, E>) -> Self {
        rejected.error.into()
    }
}

impl<'a, T, E> From<Rejected<T, E>> for Box<dyn StdError + Send + Sync + 'a>
where
    E: StdError + Send + Sync + 'a,
{
    fn from(rejected: Rejected<T, E>) -> Self {
        rejected.error.into()
    }
}

#[cfg(feature = "anyhow")]
impl<T, E: StdError + Send + Sync + 'static> From<Rejected<T, E>> for anyhow::Error {
    fn from(rejected: Rejected<T, E>) -> Self {
        rejected.error.into()
    }
}

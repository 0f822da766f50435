// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Failure`]: a handler that was taken out, and why.

use std::any::Any;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

use super::{HandlerError, Token};
use crate::EventNotifier;

/// A handler that could not go on. It has been taken out and dropped; its name is of no use any more.
#[derive(Debug)]
#[non_exhaustive]
pub struct Failure {
    /// What it was called.
    pub token: Token,
    /// The notifier it was for, so that another handler can be added; `None` if it was for another
    /// file descriptor ([`DispatcherHandle::add_fd`](super::DispatcherHandle::add_fd)).
    pub notifier: Option<Arc<EventNotifier>>,
    /// How many signals it was called for when it failed; `None` if it was not called for a signal.
    pub signalled: Option<NonZeroU64>,
    /// What came meanwhile, taken from the counter: the callback has to handle it, or to signal it
    /// again. If the handler was being polled, one is counted for work whose signal it may have
    /// suppressed. `None` if there is no notifier.
    pub pending: Option<NonZeroU64>,
    /// What happened.
    pub reason: Reason,
}

/// Why a handler was taken out.
#[non_exhaustive]
pub enum Reason {
    /// It returned an error.
    Error(HandlerError),
    /// It panicked, with this payload.
    Panic(Box<dyn Any + Send>),
    /// Its notifier's counter could not be read.
    Notifier(crate::Error),
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => f.debug_tuple("Error").field(error).finish(),
            Self::Panic(_) => f.debug_tuple("Panic").field(&self.to_string()).finish(),
            Self::Notifier(error) => f.debug_tuple("Notifier").field(error).finish(),
        }
    }
}

impl fmt::Display for Reason {
    /// The error, or what the panic said.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => error.fmt(f),
            Self::Notifier(error) => error.fmt(f),
            Self::Panic(payload) => {
                let text = payload.downcast_ref::<&str>().copied();
                let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
                f.write_str("panicked: ")?;
                f.write_str(text.unwrap_or("something that is no text"))
            }
        }
    }
}

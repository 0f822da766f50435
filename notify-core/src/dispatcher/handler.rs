// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Handlers, and the report of one that failed.

use std::any::Any;
use std::fmt;
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::Token;
use crate::EventNotifier;

/// The error of a handler.
pub type HandlerError = Box<dyn std::error::Error + Send + Sync>;

/// Acts on the signals of one notifier.
///
/// The dispatcher calls it on the thread that runs it, one call at a time. It drops the handler
/// when it is removed, when it fails, or when the dispatcher is dropped. For a closure use
/// [`DispatcherHandle::add`](super::DispatcherHandle::add).
pub trait Handler: Send {
    /// Handles the signals of the notifier: `signalled` is how many came since the last call.
    ///
    /// The counter has been taken already.
    ///
    /// Do all work in this call, and do not block: all handlers share the thread. A handler that
    /// wants to be called again, to let others run, signals its notifier itself.
    ///
    /// # Errors
    ///
    /// An error that the handler cannot recover from. It is then removed, and reported to the
    /// callback of [`DispatcherBuilder::on_failure`](super::DispatcherBuilder::on_failure). A panic
    /// counts as an error.
    fn handle(&mut self, signalled: NonZeroU64) -> Result<(), HandlerError>;
}

/// A handler that can also look for work without a signal: at a ring in memory.
///
/// While the dispatcher polls, it calls [`poll`](Self::poll) again and again. For how long tunes
/// itself (see [`PollLimits`](super::PollLimits)). A signal that comes meanwhile still causes a
/// call of [`handle`](Handler::handle).
pub trait PollHandler: Handler {
    /// Looks for work, and does a bounded amount of it.
    ///
    /// After [`Progress::Made`] it is called again before the dispatcher blocks. In between other
    /// handlers are called. It must not block.
    fn poll(&mut self) -> Progress;

    /// Lets the peer stop signalling: the dispatcher begins to poll this handler.
    ///
    /// For a virtio ring, set VIRTQ_USED_F_NO_NOTIFY, or stop updating the event index.
    fn begin_polling(&mut self) {}

    /// Lets the peer signal again: the dispatcher stops polling this handler.
    ///
    /// Work that the peer made available just before it sees this comes without a signal. So the
    /// dispatcher always calls [`poll`](Self::poll) once more before it blocks, and
    /// [`remove`](super::DispatcherHandle::remove) counts it as a pending signal.
    fn end_polling(&mut self) {}
}

/// The result of [`PollHandler::poll`].
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub enum Progress {
    /// There was nothing to do.
    None,
    /// Something was done, and there may be more.
    Made,
    /// The handler failed, as by an error of [`Handler::handle`].
    Failed(HandlerError),
}

impl<H: Handler + ?Sized> Handler for Box<H> {
    fn handle(&mut self, signalled: NonZeroU64) -> Result<(), HandlerError> {
        (**self).handle(signalled)
    }
}

impl<H: PollHandler + ?Sized> PollHandler for Box<H> {
    fn poll(&mut self) -> Progress {
        (**self).poll()
    }

    fn begin_polling(&mut self) {
        (**self).begin_polling();
    }

    fn end_polling(&mut self) {
        (**self).end_polling();
    }
}

/// A closure as a handler.
pub(super) struct Closure<F>(pub(super) F);

impl<F: FnMut(NonZeroU64) -> Result<(), HandlerError> + Send> Handler for Closure<F> {
    fn handle(&mut self, signalled: NonZeroU64) -> Result<(), HandlerError> {
        (self.0)(signalled)
    }
}

/// A handler as the dispatcher keeps it.
pub(super) enum Kind {
    Plain(Box<dyn Handler>),
    Polled(Box<dyn PollHandler>),
}

impl Kind {
    pub(super) fn handle(&mut self, signalled: NonZeroU64) -> Result<(), HandlerError> {
        match self {
            Self::Plain(handler) => handler.handle(signalled),
            Self::Polled(handler) => handler.handle(signalled),
        }
    }

    pub(super) fn poll(&mut self) -> Progress {
        match self {
            Self::Plain(_) => Progress::None,
            Self::Polled(handler) => handler.poll(),
        }
    }

    pub(super) fn begin_polling(&mut self) {
        if let Self::Polled(handler) = self {
            handler.begin_polling();
        }
    }

    pub(super) fn end_polling(&mut self) {
        if let Self::Polled(handler) = self {
            handler.end_polling();
        }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Polled(_) => "Polled",
        })
    }
}

/// The report of a handler that failed.
///
/// The handler has been removed and dropped, and its token names no handler any more.
#[derive(Debug)]
#[non_exhaustive]
pub struct Failure {
    /// The token of the handler.
    pub token: Token,
    /// Its notifier, so that another handler can be added.
    ///
    /// `None` if it was for another file descriptor
    /// ([`DispatcherHandle::add_fd`](super::DispatcherHandle::add_fd)).
    pub notifier: Option<Arc<EventNotifier>>,
    /// The number of signals that the failed call was for; `None` if it was for no signal.
    pub signalled: Option<NonZeroU64>,
    /// The signals that came meanwhile, taken from the counter.
    ///
    /// The callback has to handle them, or to signal them again. If the handler was being polled,
    /// one is counted for work whose signal it may have suppressed. `None` if there is no notifier.
    pub pending: Option<NonZeroU64>,
    /// Why it failed.
    pub reason: Reason,
}

/// Why a handler failed.
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
    /// Prints the error, or the message of the panic.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => error.fmt(f),
            Self::Notifier(error) => error.fmt(f),
            Self::Panic(payload) => {
                let text = payload.downcast_ref::<&str>().copied();
                let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
                f.write_str("panicked: ")?;
                f.write_str(text.unwrap_or("the payload is not text"))
            }
        }
    }
}

/// The payload of a panic.
pub(super) type Payload = Box<dyn Any + Send>;

/// Calls code of a handler. A handler that panicked is never called again, so no code sees its
/// state half changed.
pub(super) fn catch_panic<R>(call: impl FnOnce() -> R) -> Result<R, Payload> {
    catch_unwind(AssertUnwindSafe(call))
}

/// Logs the panic of a handler that was being removed, which has no caller to be reported to.
pub(super) fn log_panic(dropped: Result<(), Payload>) {
    if let Err(payload) = dropped {
        let reason = Reason::Panic(payload);
        log::error!("while it was dropped, a handler {reason}");
    }
}

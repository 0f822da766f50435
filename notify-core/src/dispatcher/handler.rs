// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Handlers: what they do about a signal, and what is reported of one that failed.

use std::any::Any;
use std::fmt;
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::Token;
use crate::EventNotifier;

/// What a handler may fail with.
pub type HandlerError = Box<dyn std::error::Error + Send + Sync>;

/// Acts on the signals of one notifier.
///
/// The dispatcher calls it on the thread that runs it, one call at a time, and drops it when it is
/// removed, when it fails or with the dispatcher. A closure will do where there is nothing but this
/// one method: see [`DispatcherHandle::add`](super::DispatcherHandle::add).
pub trait Handler: Send {
    /// The notifier was signalled so many times since the last call. Its counter has been taken.
    ///
    /// Whatever there is to do is done in this call. A handler that wants to be called again, to
    /// give others a turn, signals its notifier itself.
    ///
    /// # Errors
    ///
    /// Whatever the handler cannot go on after: it is then taken out, and reported to the callback
    /// of [`DispatcherBuilder::on_failure`](super::DispatcherBuilder::on_failure). A panic counts
    /// as an error.
    fn handle(&mut self, signalled: NonZeroU64) -> Result<(), HandlerError>;
}

/// A handler that can also look for work by itself: at a ring in memory, without a system call.
///
/// While the dispatcher polls, it calls [`poll`](Self::poll) again and again, for a time that tunes
/// itself (see [`PollLimits`](super::PollLimits)). A signal that comes all the same still leads to
/// [`handle`](Handler::handle).
pub trait PollHandler: Handler {
    /// Looks for work, and does it.
    ///
    /// It should do a bounded amount: after [`Progress::Made`] it is called again before the
    /// dispatcher blocks, and in between others have their turn.
    fn poll(&mut self) -> Progress;

    /// The dispatcher begins to poll this handler: its peer need not signal from now on. For a
    /// virtio ring this sets VIRTQ_USED_F_NO_NOTIFY or stops updating the event index.
    fn begin_polling(&mut self) {}

    /// The dispatcher polls no more, so the peer must signal again.
    ///
    /// Work that the peer made available just before it could see this comes without a signal. So
    /// the dispatcher always calls [`poll`](Self::poll) once more before it blocks, and
    /// [`remove`](super::DispatcherHandle::remove) counts it as a signal that is pending.
    fn end_polling(&mut self) {}
}

/// What a look for work came to.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub enum Progress {
    /// There was nothing to do.
    None,
    /// Something was done, and there may be more.
    Made,
    /// As an error of [`Handler::handle`].
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

/// A handler that could not go on. It has been taken out and dropped; its name is of no use any
/// more.
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

/// What a panic carries.
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
        log::error!("a handler {reason} when it was dropped");
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Watched`]: a notifier or another file descriptor, seen through mio; [`Readiness`]: what the
//! kernel reports of the latter.

use std::fmt;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mio::event::{Event, Source as _};
use mio::unix::SourceFd;
use mio::{Interest, Registry};

use super::Error;
use super::handler::{Handler, HandlerError, catch_panic, log_panic};
use super::slot::Signals;
use super::token::Key;
use crate::{EventFdMode, EventNotifier};

/// The most reads that empty a semaphore. Its other holder could fill it faster than it is emptied.
const MOST_READS: u32 = 65_536;

/// What is watched, and where its events lead.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) source: Source,
    pub(super) key: Key,
    pub(super) registry: Arc<Registry>,
}

/// What is watched.
#[derive(Debug)]
pub(super) enum Source {
    /// The dispatcher takes its signals.
    Notifier {
        notifier: Arc<EventNotifier>,
        /// Whether one read may leave something in the counter, which epoll does not report again.
        /// Found out once: the mode of one that was made elsewhere may cost system calls.
        may_hold_more: bool,
    },
    /// The dispatcher reads nothing from it.
    Fd(SharedFd, Latest),
}

/// A caller's type that has a file descriptor.
pub(super) struct SharedFd {
    number: RawFd,
    /// It keeps the descriptor open. Its drop is the caller's code, and `None` afterwards.
    source: Option<Arc<dyn AsFd + Send + Sync>>,
}

impl Signals for Watched {
    fn watch(&self) -> Result<(), Error> {
        let (fd, token) = (self.fd(), self.key.into());
        let registered = SourceFd(&fd).register(&self.registry, token, Interest::READABLE);
        registered.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Error::AlreadyAdded { fd },
            _ => Error::Watch {
                fd,
                cause: error.into(),
            },
        })
    }

    fn unwatch(&self) {
        // It is open and registered, which is all that the kernel could miss.
        let _ = SourceFd(&self.fd()).deregister(&self.registry);
        if let Source::Fd(_, latest) = &self.source {
            // It may not be true any more when it is watched again.
            latest.take();
        }
    }

    fn watch_again(&self) {
        let (fd, token) = (self.fd(), self.key.into());
        // As above, and nothing is allocated for it.
        let _ = SourceFd(&fd).reregister(&self.registry, token, Interest::READABLE);
    }

    fn stays_ready(&self) -> bool {
        matches!(self.source, Source::Fd(..))
    }

    fn take(&self) -> Result<Option<NonZeroU64>, Error> {
        let Source::Notifier { notifier, .. } = &self.source else {
            return Ok(None);
        };
        let first = notifier.consume()?;
        let (Some(mut all), true) = (first, self.may_hold_more()) else {
            return Ok(first);
        };
        for _ in 1..MOST_READS {
            match notifier.consume()? {
                Some(more) => all = all.saturating_add(more.get()),
                None => break,
            }
        }
        Ok(Some(all))
    }
}

impl Watched {
    fn fd(&self) -> RawFd {
        match &self.source {
            Source::Notifier { notifier, .. } => notifier.as_raw_fd(),
            Source::Fd(fd, _) => fd.number,
        }
    }

    /// The notifier, if it is one.
    pub(super) fn notifier(&self) -> Option<&Arc<EventNotifier>> {
        match &self.source {
            Source::Notifier { notifier, .. } => Some(notifier),
            Source::Fd(..) => None,
        }
    }

    /// Notes what the kernel said.
    pub(super) fn note(&self, event: &Event) {
        if let Source::Fd(_, latest) = &self.source {
            latest.set(event);
        }
    }

    /// Takes what the handler is to be called for: a count, or the bits of what a file descriptor
    /// is ready for.
    pub(super) fn consume(&self) -> Result<Option<NonZeroU64>, crate::Error> {
        match &self.source {
            Source::Notifier { notifier, .. } => notifier.consume(),
            Source::Fd(_, latest) => Ok(latest.take()),
        }
    }

    /// Signals, if there is no signal: what takes the next one looks for work.
    ///
    /// The count is taken and written again. A peer may have filled the counter and made it
    /// blocking, and a look that takes nothing is poll(2), which system call filters do not allow.
    ///
    /// Call it with nothing locked: a peer that fills the counter in between blocks the write.
    pub(super) fn ensure_signal(&self) {
        let Some(notifier) = self.notifier() else {
            return;
        };
        let taken = notifier.consume().ok().flatten();
        if !matches!(notifier.add(taken.unwrap_or(NonZeroU64::MIN)), Ok(true)) {
            // It is an open eventfd, and has a signal if there is no room in it.
            let _ = notifier.notify();
        }
    }

    pub(super) fn may_hold_more(&self) -> bool {
        let Source::Notifier { may_hold_more, .. } = &self.source else {
            return false;
        };
        *may_hold_more
    }
}

impl From<Arc<EventNotifier>> for Source {
    fn from(notifier: Arc<EventNotifier>) -> Self {
        let may_hold_more = notifier.mode() != EventFdMode::Counter;
        Self::Notifier {
            notifier,
            may_hold_more,
        }
    }
}

impl SharedFd {
    pub(super) fn new<S: AsFd + Send + Sync + 'static>(source: Arc<S>) -> Self {
        let number = source.as_fd().as_raw_fd();
        Self {
            number,
            source: Some(source),
        }
    }
}

impl Drop for SharedFd {
    fn drop(&mut self) {
        let source = self.source.take();
        log_panic(catch_panic(|| drop(source)));
    }
}

impl fmt::Debug for SharedFd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedFd").field(&self.number).finish()
    }
}

const READABLE: u64 = 1;
const HUNG_UP: u64 = 2;
const ERROR: u64 = 4;

/// What a file descriptor with a handler is ready for, as the kernel reported it last.
///
/// It is the argument of a closure of
/// [`DispatcherHandle::add_fd`](super::DispatcherHandle::add_fd).
///
/// At least one of the three methods returns true. If a peer has hung up with data left, two do.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Readiness(NonZeroU64);

impl Readiness {
    /// Returns whether there is something to read (EPOLLIN). At the end of a stream a read returns
    /// 0 bytes.
    #[must_use]
    pub fn is_readable(self) -> bool {
        self.0.get() & READABLE != 0
    }

    /// Returns whether the peer has closed its end, or will write no more (EPOLLHUP, EPOLLRDHUP).
    ///
    /// This state does not end: the handler is called in each turn until it is removed.
    #[must_use]
    pub fn is_hung_up(self) -> bool {
        self.0.get() & HUNG_UP != 0
    }

    /// Returns whether the file has an error (EPOLLERR). A read returns it, or SO_ERROR of a
    /// socket.
    #[must_use]
    pub fn is_error(self) -> bool {
        self.0.get() & ERROR != 0
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness")
            .field("readable", &self.is_readable())
            .field("hung_up", &self.is_hung_up())
            .field("error", &self.is_error())
            .finish()
    }
}

/// The kernel's last report of a file descriptor whose handler has not been called for it: the
/// bits of a [`Readiness`], or none. They take the place of a notifier's count.
#[derive(Debug, Default)]
pub(super) struct Latest(AtomicU64);

impl Latest {
    pub(super) fn set(&self, event: &Event) {
        let bit = |set: bool, bit: u64| if set { bit } else { 0 };
        let bits = bit(event.is_readable(), READABLE)
            | bit(event.is_read_closed(), HUNG_UP)
            | bit(event.is_error(), ERROR);
        self.0.store(bits, Ordering::Relaxed);
    }

    pub(super) fn take(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.0.swap(0, Ordering::Relaxed))
    }
}

/// A closure for a file descriptor, as a handler.
pub(super) struct OnReady<F>(pub(super) F);

impl<F: FnMut(Readiness) -> Result<(), HandlerError> + Send> Handler for OnReady<F> {
    fn handle(&mut self, bits: NonZeroU64) -> Result<(), HandlerError> {
        (self.0)(Readiness(bits))
    }
}

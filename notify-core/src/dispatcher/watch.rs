// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Watched`]: a notifier or another file descriptor, seen through mio.

use std::fmt;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;

use mio::event::{Event, Source as _};
use mio::unix::SourceFd;
use mio::{Interest, Registry};

use super::Error;
use super::readiness::Latest;
use super::shared::{guarded, report};
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
    Notifier(Arc<EventNotifier>),
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
        let Source::Notifier(notifier) = &self.source else {
            return Ok(None);
        };
        let first = notifier.consume()?;
        let (Some(mut all), true) = (first, self.may_leave_a_rest()) else {
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
            Source::Notifier(notifier) => notifier.as_raw_fd(),
            Source::Fd(fd, _) => fd.number,
        }
    }

    /// The notifier, if it is one.
    pub(super) fn notifier(&self) -> Option<&Arc<EventNotifier>> {
        match &self.source {
            Source::Notifier(notifier) => Some(notifier),
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
            Source::Notifier(notifier) => notifier.consume(),
            Source::Fd(_, latest) => Ok(latest.take()),
        }
    }

    /// Signals, if there is no signal: what takes the next one looks for work.
    ///
    /// What is there is taken and written again: a peer may have filled the counter and made it
    /// blocking, and a look that takes nothing is poll(2), which system call filters do not allow.
    ///
    /// Call it with nothing locked: a peer that fills the counter in between blocks the write.
    pub(super) fn remind(&self) {
        let Some(notifier) = self.notifier() else {
            return;
        };
        let taken = notifier.consume().ok().flatten();
        if !matches!(notifier.add(taken.unwrap_or(NonZeroU64::MIN)), Ok(true)) {
            // It is an open eventfd, and has a signal if there is no room in it.
            let _ = notifier.notify();
        }
    }

    /// Whether one read may leave something in the counter, of which epoll does not tell again.
    pub(super) fn may_leave_a_rest(&self) -> bool {
        let mode = self.notifier().map(|notifier| notifier.mode());
        mode.is_some_and(|mode| mode != EventFdMode::Counter)
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
        report(guarded(|| drop(source)));
    }
}

impl fmt::Debug for SharedFd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedFd").field(&self.number).finish()
    }
}

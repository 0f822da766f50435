// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Watched`]: the signals of one notifier, seen through mio.

use std::io;
use std::num::NonZeroU64;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use mio::{Interest, Registry};

use super::Error;
use super::slot::Signals;
use super::token::Key;
use crate::{EventFdMode, EventNotifier};

/// The most reads that empty a semaphore. Its other holder could fill it faster than it is emptied.
const MOST_READS: u32 = 65_536;

/// A notifier, and where its signals lead.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) notifier: Arc<EventNotifier>,
    pub(super) key: Key,
    pub(super) registry: Arc<Registry>,
}

impl Signals for Watched {
    fn watch(&self) -> Result<(), Error> {
        let mut source = &*self.notifier;
        let token = self.key.into();
        let registered = self
            .registry
            .register(&mut source, token, Interest::READABLE);
        let fd = self.notifier.as_raw_fd();
        registered.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => Error::AlreadyAdded { fd },
            _ => Error::Watch { fd, source },
        })
    }

    fn unwatch(&self) {
        // It is open and registered, which is all that the kernel could miss.
        let _ = self.registry.deregister(&mut &*self.notifier);
    }

    fn watch_again(&self) {
        let token = self.key.into();
        // As above, and nothing is allocated for it.
        let _ = self
            .registry
            .reregister(&mut &*self.notifier, token, Interest::READABLE);
    }

    fn take(&self) -> Result<Option<NonZeroU64>, Error> {
        let first = self.notifier.consume()?;
        let (Some(mut all), true) = (first, self.may_leave_a_rest()) else {
            return Ok(first);
        };
        for _ in 1..MOST_READS {
            match self.notifier.consume()? {
                Some(more) => all = all.saturating_add(more.get()),
                None => break,
            }
        }
        Ok(Some(all))
    }
}

impl Watched {
    /// Signals, if there is no signal: what takes the next one looks for work.
    ///
    /// What is there is taken and written again: a peer may have filled the counter and made it
    /// blocking, and a look that takes nothing is poll(2), which system call filters do not allow.
    ///
    /// Call it with nothing locked: a peer that fills the counter in between blocks the write.
    pub(super) fn remind(&self) {
        let taken = self.notifier.consume().ok().flatten();
        if !matches!(
            self.notifier.add(taken.unwrap_or(NonZeroU64::MIN)),
            Ok(true)
        ) {
            // It is an open eventfd, and has a signal if there is no room in it.
            let _ = self.notifier.notify();
        }
    }

    /// Whether one read may leave something in the counter, of which epoll does not tell again.
    pub(super) fn may_leave_a_rest(&self) -> bool {
        self.notifier.mode() != EventFdMode::Counter
    }
}

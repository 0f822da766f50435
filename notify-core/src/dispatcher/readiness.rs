// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Readiness`]: what the kernel reports of a file descriptor; [`Latest`]: its last report.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};

use mio::event::Event;

use super::handler::{Handler, HandlerError};

const READABLE: u64 = 1;
const HUNG_UP: u64 = 2;
const ERROR: u64 = 4;

/// Why a handler of [`DispatcherHandle::add_fd`](super::DispatcherHandle::add_fd) is called: the
/// state of the file as the kernel reported it last.
///
/// At least one of the three is true. Where a peer has hung up with data left, two are.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Readiness(NonZeroU64);

impl Readiness {
    /// Whether there is something to read (EPOLLIN). At the end of a stream a read returns 0 bytes.
    #[must_use]
    pub fn is_readable(self) -> bool {
        self.0.get() & READABLE != 0
    }

    /// Whether the peer has closed its end, or will write no more (EPOLLHUP, EPOLLRDHUP).
    ///
    /// This does not end: the handler is called in each turn until it is removed.
    #[must_use]
    pub fn is_hung_up(self) -> bool {
        self.0.get() & HUNG_UP != 0
    }

    /// Whether the file has an error (EPOLLERR). A read returns it, or SO_ERROR of a socket.
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

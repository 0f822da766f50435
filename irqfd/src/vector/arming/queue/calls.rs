// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Calls`]: the descriptors by which a queue calls its owner.

use std::io;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use notify_core::EventNotifier;

use super::retry::Retry;
use crate::sync::atomic::{AtomicBool, Ordering};

/// The epoll's data for the queue's own notifier.
const READY: u64 = 0;
/// The epoll's data for the timer.
const RETRY: u64 = 1;

/// The descriptors by which a queue calls its owner. They are the owner's, and are closed with it.
pub(super) struct Calls {
    /// Readable when there is something to do.
    pub(super) epoll: Epoll,
    ready: EventNotifier,
    /// Whether the owner was called since it took the vectors. It saves a system call for each
    /// vector.
    called: AtomicBool,
    retry: Retry,
}

impl Calls {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        // Only the epoll is handed out, so a plain read takes its counter.
        let ready = EventNotifier::builder().private(true).build();
        let ready = ready.map_err(io::Error::other)?;
        epoll.add(&ready, EpollEvent::new(EpollFlags::EPOLLIN, READY))?;
        let retry = Retry::new(&epoll, RETRY)?;
        Ok(Self {
            epoll,
            ready,
            called: AtomicBool::new(false),
            retry,
        })
    }

    /// Calls the owner for a round.
    pub(super) fn wake(&self) {
        if !self.called.swap(true, Ordering::AcqRel) {
            // The notifier is the queue's own, and a counter that cannot grow is signalled already.
            let _ = self.ready.notify();
        }
    }

    /// Calls the owner after a while, for a vector that has failed so often in a row.
    pub(super) fn retry_later(&self, failures: u32) {
        self.retry.later(failures);
    }

    /// A round begins, and takes the vectors after this.
    pub(super) fn begin_round(&self) {
        // In this order: what comes after it signals anew, and a thread that was spared the signal
        // has entered its vector.
        let _ = self.ready.consume();
        self.called.swap(false, Ordering::AcqRel);
        // So does this: the timer that is set after it is for a vector that may not have been
        // taken.
        self.retry.begin();
    }
}

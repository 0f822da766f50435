// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Retry`]: wakes the owner again after a temporary failure.

use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::sync::Mutex;

/// How long the first retry of a vector waits. Each further one waits twice as long.
const FIRST: Duration = Duration::from_millis(1);
/// How often that is doubled: up to a second.
const DOUBLINGS: u32 = 10;

/// A timer that makes the queue's descriptor readable.
pub(super) struct Retry {
    timer: TimerFd,
    /// When the timer runs out, or has run out.
    due: Mutex<Option<Instant>>,
}

impl Retry {
    /// A timer that the epoll knows under this number.
    pub(super) fn new(epoll: &Epoll, number: u64) -> nix::Result<Self> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, number))?;
        Ok(Self {
            timer,
            due: Mutex::default(),
        })
    }

    /// The owner is to be called again for a vector that has failed so often in a row. One that
    /// fails again and again does not make others wait for their first retry.
    pub(super) fn later(&self, failures: u32) {
        let delay = FIRST * (1 << failures.saturating_sub(1).min(DOUBLINGS));
        let mut due = self.due.lock();
        let new = Instant::now() + delay;
        if due.is_some_and(|due| due <= new) {
            return;
        }
        *due = Some(new);
        let expiration = Expiration::OneShot(TimeSpec::from_duration(delay));
        if let Err(error) = self.timer.set(expiration, TimerSetTimeFlags::empty()) {
            log::error!(
                "a queue's timer cannot be set; a vector waits for the next round: {error}"
            );
        }
    }

    /// A round begins, in which all are tried.
    pub(super) fn begin(&self) {
        if self.due.lock().take().is_some() {
            // Setting a timer to nothing cannot fail, and makes it unreadable.
            let _ = self.timer.unset();
        }
    }
}

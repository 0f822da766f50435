// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Retry`]: calls the owner again some time after a failure that may pass by itself.

use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::sync::Mutex;

/// How long the first retry waits. Each further one waits twice as long as the one before.
const FIRST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(1);

/// A timer that makes the queue's descriptor readable.
pub(super) struct Retry {
    timer: TimerFd,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Whether the timer runs, or has run out.
    set: bool,
    delay: Duration,
}

impl Retry {
    /// A timer that the epoll knows under this number.
    pub(super) fn new(epoll: &Epoll, number: u64) -> nix::Result<Self> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, number))?;
        Ok(Self {
            timer,
            state: Mutex::new(State {
                set: false,
                delay: FIRST,
            }),
        })
    }

    /// The owner is to be called again.
    pub(super) fn later(&self) {
        let mut state = self.state.lock();
        if state.set {
            return;
        }
        let expiration = Expiration::OneShot(TimeSpec::from_duration(state.delay));
        state.set = true;
        state.delay = (state.delay * 2).min(LONGEST);
        if let Err(error) = self.timer.set(expiration, TimerSetTimeFlags::empty()) {
            log::error!(
                "a vector is tried again in the next round, which nothing calls for: {error}"
            );
        }
    }

    /// A round begins. Returns whether it was called for.
    pub(super) fn begin(&self) -> bool {
        let mut state = self.state.lock();
        if state.set {
            // Setting a timer to nothing cannot fail, and makes it unreadable.
            let _ = self.timer.unset();
        }
        std::mem::take(&mut state.set)
    }

    /// It has ended. If nothing has failed, the next failure is a first one.
    pub(super) fn end(&self, retried: bool) {
        let mut state = self.state.lock();
        if retried && !state.set {
            state.delay = FIRST;
        }
    }
}

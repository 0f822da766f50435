// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`PollWindow`]: for how long it is worth polling, by QEMU's rules.

use std::time::Duration;

/// Within which limits the windows tune themselves.
///
/// The names and values are those of QEMU's I/O threads (`poll-max-ns`, `poll-grow`,
/// `poll-shrink`), except where a field says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PollLimits {
    /// The longest window; zero switches polling off. 32,768 ns unless set.
    ///
    /// While the thread blocks, the time that it takes to be woken counts as waiting. So a window can
    /// only open where this is more than the time between two events and that time together.
    pub max: Duration,
    /// By what a window that was too short is multiplied; 0, which is what it is unless set, means 2.
    pub grow: u32,
    /// By what a window is divided that would have to be longer than `max`; 0, which is what it is
    /// unless set, closes it at once.
    pub shrink: u32,
    /// A handler that no poll has found work for in so long is polled no more until its next signal.
    /// 7 s unless set.
    pub idle: Duration,
    /// The longest time between two readings of the clock, between which nothing but polls without
    /// success happens, that polling can explain. After a longer one the thread must have been
    /// preempted, and polls no more for a while: 0.1 s, then 1 s and 10 s if it happens again soon
    /// after. 0.5 ms unless set, which is less than Linux's time slices and more than its
    /// interrupts take. QEMU has no such limit.
    pub longest_gap: Duration,
}

impl Default for PollLimits {
    fn default() -> Self {
        Self {
            max: Duration::from_nanos(32_768),
            grow: 0,
            shrink: 0,
            idle: Duration::from_secs(7),
            longest_gap: Duration::from_micros(500),
        }
    }
}

impl PollLimits {
    /// QEMU's limits with another longest window; zero switches polling off.
    #[must_use]
    pub fn with_max(max: Duration) -> Self {
        Self {
            max,
            ..Self::default()
        }
    }
}

/// The first window of a handler that had none.
const FIRST: Duration = Duration::from_micros(4);

/// For how long a handler is polled before the dispatcher blocks. It begins at zero.
///
/// These are the rules of QEMU 10.0, `util/aio-posix.c`, `adjust_polling_time`, and there is no clock in
/// them. The dispatcher polls all its handlers for the longest of their windows.
///
/// ```
/// use std::time::Duration;
/// use notify_core::dispatcher::{PollLimits, PollWindow};
///
/// let us = Duration::from_micros;
/// let (limits, mut window) = (PollLimits::default(), PollWindow::default());
/// window.adjust(us(20), &limits); // an event came after 20 us: polling would pay
/// assert_eq!(window.length(), us(4));
/// window.adjust(us(20), &limits);
/// window.adjust(us(20), &limits);
/// window.adjust(us(20), &limits);
/// assert_eq!(window.length(), us(32));
/// window.adjust(us(20), &limits); // caught while polling: long enough
/// assert_eq!(window.length(), us(32));
/// window.adjust(us(50), &limits); // too far apart: not worth it
/// assert_eq!(window.length(), us(0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PollWindow {
    length: Duration,
}

impl PollWindow {
    /// The window as it is now.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.length
    }

    /// A window that was so long when its handler left polling.
    pub(super) fn with_length(length: Duration) -> Self {
        Self { length }
    }

    /// Learns from an event that came so long after the dispatcher had begun to wait for it, polling
    /// or blocked.
    pub fn adjust(&mut self, waited: Duration, limits: &PollLimits) {
        if waited <= self.length {
            // It was caught while polling.
        } else if waited > limits.max {
            self.length = self.length.checked_div(limits.shrink).unwrap_or_default();
        } else if self.length < limits.max && waited < limits.max {
            let grown = match limits.grow {
                _ if self.length.is_zero() => FIRST,
                0 => self.length.saturating_mul(2),
                grow => self.length.saturating_mul(grow),
            };
            self.length = grown.min(limits.max);
        }
    }
}

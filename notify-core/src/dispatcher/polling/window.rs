// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`PollWindow`]: for how long it is worth polling, by QEMU's rules; [`PollLimits`]: its limits.

use std::time::Duration;

/// The limits of adaptive polling.
///
/// Before the dispatcher blocks, it polls its handlers for a window of time that tunes itself. Each
/// handler has a window, which begins at zero; the longest one counts.
///
/// - A signal after the end of the window, but within [`max`](Self::max): the window opens with 4
///   us, or grows.
/// - A signal later than `max`: polling would not have paid, and the window shrinks or closes.
///
/// These are the rules of QEMU 10.0 (`util/aio-posix.c`, `adjust_polling_time`).
///
/// The names and values are those of QEMU's I/O threads (`poll-max-ns`, `poll-grow`,
/// `poll-shrink`), except where a field states otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PollLimits {
    /// The longest window (default 32,768 ns); zero switches polling off.
    ///
    /// While the thread blocks, the time to wake it counts as waiting. So a window can only open if
    /// this is more than the time between two events plus the time to wake the thread.
    pub max: Duration,
    /// The factor by which a window that was too short grows. 0, the default, means 2.
    pub grow: u32,
    /// The divisor by which a window shrinks. 0, the default, closes it at once.
    ///
    /// A window shrinks if it would have to be longer than `max`.
    pub shrink: u32,
    /// The time without work after which a handler is not polled until its next signal (default 7
    /// s).
    pub idle: Duration,
    /// The longest time that polling can explain between two readings of the clock (default 0.5
    /// ms).
    ///
    /// Between the two readings nothing but polls without success happens. If more time has passed,
    /// the thread was preempted, and does not poll for a while: 0.1 s, then 1 s and 10 s if it is
    /// preempted again soon after. The default is less than Linux's time slices, and more than its
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
    /// Returns QEMU's limits with another longest window; zero switches polling off.
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

/// For how long a handler is polled before the dispatcher blocks. It begins at zero, and has no
/// clock.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PollWindow {
    length: Duration,
}

impl PollWindow {
    pub(super) fn length(&self) -> Duration {
        self.length
    }

    /// A window that had this length when its handler was polled last.
    pub(super) fn with_length(length: Duration) -> Self {
        Self { length }
    }

    /// Learns from a signal for which the dispatcher had waited for this time, polling or blocked.
    pub(super) fn adjust(&mut self, waited: Duration, limits: &PollLimits) {
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    //! The window against QEMU's rules, written down once more as they stand in its source.

    use proptest::prelude::*;

    use super::*;

    /// `adjust_polling_time` of QEMU 10.0, `util/aio-posix.c`, in its own terms.
    fn qemu(ns: &mut i64, block_ns: i64, max: i64, grow: i64, shrink: i64) {
        if block_ns <= *ns {
            return;
        }
        if block_ns > max {
            *ns = if shrink != 0 { *ns / shrink } else { 0 };
            return;
        }
        if *ns < max && block_ns < max {
            let grow = if grow == 0 { 2 } else { grow };
            *ns = if *ns != 0 { *ns * grow } else { 4000 };
            if *ns > max {
                *ns = max;
            }
        }
    }

    /// Times around the limits, where the rules turn.
    fn times(max: i64) -> impl Strategy<Value = Vec<i64>> {
        let near = prop_oneof![
            0..=max.saturating_mul(2).max(10_000),
            Just(max),
            (max - 2).max(0)..=max + 2,
            Just(4000),
            Just(0),
            0..=i64::from(u32::MAX),
        ];
        prop::collection::vec(near, 1..60)
    }

    fn limits() -> impl Strategy<Value = (i64, u32, u32)> {
        let max = prop_oneof![Just(32_768), Just(0), Just(4000), 0..200_000i64];
        (max, 0..20u32, 0..20u32)
    }

    proptest! {
        #[test]
        fn a_window_follows_the_rules(
            ((max, grow, shrink), blocks) in limits().prop_flat_map(|limits| (Just(limits),
            times(limits.0)))
        ) {
            let nanoseconds = |ns: i64| Duration::from_nanos(u64::try_from(ns).unwrap());
            let mut limits = PollLimits::with_max(nanoseconds(max));
            (limits.grow, limits.shrink) = (grow, shrink);
            let (mut window, mut ns) = (PollWindow::default(), 0);
            for block in blocks {
                window.adjust(nanoseconds(block), &limits);
                qemu(&mut ns, block, max, grow.into(), shrink.into());
                prop_assert_eq!(window.length(), nanoseconds(ns), "after {} ns", block);
                prop_assert!(window.length() <= limits.max);
            }
        }
    }

    #[test]
    fn the_limits_are_qemus_unless_set() {
        let limits = PollLimits::default();
        assert_eq!(limits.max, Duration::from_nanos(32_768));
        assert_eq!((limits.grow, limits.shrink), (0, 0));
        assert_eq!(limits.idle, Duration::from_secs(7));
    }

    #[test]
    fn nothing_overflows() {
        let mut limits = PollLimits::with_max(Duration::MAX);
        limits.grow = u32::MAX;
        let mut window = PollWindow::default();
        for _ in 0..10 {
            let longer = window.length().saturating_add(Duration::from_nanos(1));
            window.adjust(longer, &limits);
        }
        assert!(window.length() > Duration::from_secs(1));
        window.adjust(Duration::MAX, &limits);
    }
}

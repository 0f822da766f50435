// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`HoldOff`]: for how long a thread that was preempted while it polled polls no more.

use std::time::{Duration, Instant};

use super::window::PollLimits;

/// The first time.
const FIRST: Duration = Duration::from_millis(100);

/// By how much it is longer if the thread is preempted again soon after.
const FACTOR: u32 = 10;

/// The longest time.
const LONGEST: Duration = Duration::from_secs(10);

/// Whether the thread may poll.
///
/// The scheduler runs a thread that sleeps at once when it is woken. It makes a thread that spins
/// wait for a whole time slice of another thread. So beside a busy neighbour polling is worse than
/// blocking, and the thread polls only now and then, to find out whether the neighbour is still
/// there. There is no clock in here.
#[derive(Debug, Default)]
pub(super) struct HoldOff {
    length: Duration,
    /// When it ended, or will end; `None` before the first.
    until: Option<Instant>,
}

impl HoldOff {
    /// Whether the thread may poll now.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    /// Learns that the thread polled and found nothing between two readings of the clock, the later
    /// of which is `now`. Returns whether it was preempted in between: then it must not poll for a
    /// while.
    ///
    /// If it was preempted less than one hold-off after the end of that hold-off, the next one is
    /// longer.
    pub(super) fn polled(&mut self, gap: Duration, now: Instant, limits: &PollLimits) -> bool {
        if gap <= limits.longest_gap {
            return false;
        }
        let since = self.until.map(|until| now.saturating_duration_since(until));
        self.length = match since {
            Some(since) if since <= self.length => self.length.saturating_mul(FACTOR).min(LONGEST),
            _ => FIRST,
        };
        self.until = now.checked_add(self.length);
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const SLICE: Duration = Duration::from_millis(4);

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// A thread that is preempted whenever it has polled for so long, until the hold-off takes
    /// effect.
    struct Thread {
        hold_off: HoldOff,
        now: Instant,
    }

    impl Thread {
        fn new() -> Self {
            Self {
                hold_off: HoldOff::default(),
                now: Instant::now(),
            }
        }

        /// Polls for so long, one reading of the clock every microsecond.
        #[track_caller]
        fn poll(&mut self, time: Duration) {
            let (gap, limits) = (Duration::from_micros(1), PollLimits::default());
            let end = self.now + time;
            while self.now < end {
                assert!(self.hold_off.is_over(self.now), "it may not poll");
                self.now += gap;
                assert!(!self.hold_off.polled(gap, self.now, &limits));
            }
        }

        /// Is preempted, and returns for how long it must not poll.
        fn preempted(&mut self) -> Duration {
            self.now += SLICE;
            let limits = PollLimits::default();
            assert!(self.hold_off.polled(SLICE, self.now, &limits));
            let mut held = Duration::ZERO;
            while !self.hold_off.is_over(self.now + held) {
                held += ms(1);
            }
            self.now += held;
            held
        }
    }

    #[test]
    fn a_thread_that_nothing_preempts_polls_for_ever() {
        Thread::new().poll(ms(50));
    }

    #[test]
    fn a_hold_off_is_longer_each_time_up_to_a_limit() {
        let mut thread = Thread::new();
        let held: Vec<_> = (0..5)
            .map(|_| {
                thread.poll(SLICE);
                thread.preempted()
            })
            .collect();
        assert_eq!(
            held,
            [ms(100), ms(1000), ms(10_000), ms(10_000), ms(10_000)]
        );
    }

    #[test]
    fn a_thread_that_polled_for_long_enough_begins_anew() {
        let mut thread = Thread::new();
        assert_eq!(thread.preempted(), ms(100));
        thread.poll(ms(101));
        assert_eq!(thread.preempted(), ms(100));
        thread.poll(ms(95));
        assert_eq!(thread.preempted(), ms(1000));
        thread.poll(ms(990));
        assert_eq!(thread.preempted(), ms(10_000));
        thread.now += ms(10_001);
        assert_eq!(thread.preempted(), ms(100));
    }

    #[test]
    fn gaps_that_polling_explains_are_no_preemption() {
        let (mut hold_off, now) = (HoldOff::default(), Instant::now());
        let mut limits = PollLimits::default();
        assert!(!hold_off.polled(limits.longest_gap, now, &limits));
        assert!(hold_off.is_over(now));
        let longer = limits.longest_gap + Duration::from_nanos(1);
        assert!(hold_off.polled(longer, now, &limits));
        assert!(!hold_off.is_over(now));
        limits.longest_gap = Duration::MAX;
        let mut hold_off = HoldOff::default();
        assert!(!hold_off.polled(Duration::MAX, now, &limits));
    }
}

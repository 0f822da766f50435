// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The window against QEMU's rules, written down once more as they stand in its source.

use std::time::Duration;

use notify_core::dispatcher::{PollLimits, PollWindow};
use proptest::prelude::*;

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
        ((max, grow, shrink), blocks) in
            limits().prop_flat_map(|limits| (Just(limits), times(limits.0)))
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

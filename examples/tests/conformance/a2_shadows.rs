// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Doorbells that hide one another.
//!
//! KVM keeps the ranges of a bus in a sorted array with a binary search. Ranges that overlap have
//! no order on which the search could rely: whether it finds the range of a write depends on how
//! many other ranges there are, anywhere on the bus. So doorbells must not overlap.

use crate::backend::Bus;
use crate::case::{Case, case};
use crate::event::Event;
use crate::expect::{expect_count, expect_ok};
use crate::request::{MMIO, wildcard};

const X: u64 = MMIO + 0x1000;
/// Away from all other doorbells.
const BELOW: u64 = MMIO;
const ABOVE: u64 = MMIO + 0x10_0000;
/// With so many others below it, the doorbell is hidden. One more device is the IOAPIC, far above.
const HIDING_BELOW: [u64; 6] = [3, 4, 11, 12, 13, 14];
/// With 4 below it, it is hidden if there are so many above.
const HIDING_ABOVE_4: [u64; 6] = [0, 1, 8, 9, 10, 11];

/// A doorbell of 4 bytes at `X + 4`, overlapped by one of 8 at `X` and one of 1 at `X + 2`.
fn overlapped(below: u64, above: u64, hidden: bool) -> Case {
    let found = if hidden { "hidden" } else { "found" };
    case(
        format!("{found}_with_{below}_below_and_{above}_above"),
        move |host| {
            let (vm, event, other) = (host.vm(), Event::new(), Event::new());
            for (event, addr, len) in [(&other, X, 8), (&event, X + 4, 4), (&other, X + 2, 1)] {
                expect_ok(vm.ioeventfd(&wildcard(event, Bus::Mmio, addr, len)));
            }
            for (start, fillers) in [(BELOW, below), (ABOVE, above)] {
                for filler in 0..fillers {
                    let addr = start + filler * 0x10;
                    expect_ok(vm.ioeventfd(&wildcard(&other, Bus::Mmio, addr, 4)));
                }
            }
            let exits = vm.guest_write(Bus::Mmio, X + 4, &[1, 0, 0, 0]);
            assert_eq!(exits.is_empty(), !hidden, "{exits:?}");
            expect_count(&event, u64::from(!hidden));
            expect_count(&other, 0);
        },
    )
}

/// A doorbell for any width at `X`, and one of two bytes that ends there. KVM's comparison takes
/// them as equal, so they stand in the order of registration. If that is the wrong order, the
/// search goes the wrong way at the first of the two that it meets, and misses the other.
fn beside(bus: Bus, x: u64, lower_first: bool) -> Case {
    let order = if lower_first { "after" } else { "before" };
    case(
        format!("any_width_{order}_one_that_ends_there_{bus:?}"),
        move |host| {
            let (vm, any, lower) = (host.vm(), Event::new(), Event::new());
            let mut both = [(&any, x, 0), (&lower, x - 2, 2)];
            if lower_first {
                both.reverse();
            }
            for (event, addr, len) in both {
                expect_ok(vm.ioeventfd(&wildcard(event, bus, addr, len)));
            }
            let exits = vm.guest_write(bus, x, &[1, 0, 0, 0]);
            let lower_exits = vm.guest_write(bus, x - 2, &[1, 0]);
            // One of the two is missed if they stand in the wrong order.
            let missed = exits.len() + lower_exits.len();
            assert_eq!(
                missed,
                usize::from(!lower_first),
                "{exits:?} {lower_exits:?}"
            );
            expect_count(&any, u64::from(exits.is_empty()));
            expect_count(&lower, u64::from(lower_exits.is_empty()));
        },
    )
}

pub(crate) fn cases() -> Vec<Case> {
    let below = (0..=16).map(|n| overlapped(n, 0, HIDING_BELOW.contains(&n)));
    let above = (1..=12).map(|n| overlapped(4, n, HIDING_ABOVE_4.contains(&n)));
    let mut cases: Vec<_> = below.chain(above).collect();
    for lower_first in [false, true] {
        cases.push(beside(Bus::Mmio, X, lower_first));
        cases.push(beside(Bus::Pio, 0x612, lower_first));
    }
    cases.extend([
        case("inside_a_wider_one", |host| {
            let (vm, wide, narrow) = (host.vm(), Event::new(), Event::new());
            expect_ok(vm.ioeventfd(&wildcard(&wide, Bus::Mmio, X, 8)));
            expect_ok(vm.ioeventfd(&wildcard(&narrow, Bus::Mmio, X + 4, 4)));
            vm.expect_taken(Bus::Mmio, X + 4, &[1, 0, 0, 0]);
            expect_count(&narrow, 1);
            expect_count(&wide, 0);
        }),
        case("any_width_across_a_wider_one", |host| {
            let (vm, any, wide) = (host.vm(), Event::new(), Event::new());
            expect_ok(vm.ioeventfd(&wildcard(&any, Bus::Mmio, X + 4, 0)));
            expect_ok(vm.ioeventfd(&wildcard(&wide, Bus::Mmio, X, 8)));
            vm.expect_taken(Bus::Mmio, X + 4, &[1, 0, 0, 0]);
            vm.expect_taken(Bus::Mmio, X, &[1, 0, 0, 0, 0, 0, 0, 0]);
            expect_count(&any, 1);
            expect_count(&wide, 1);
        }),
    ]);
    cases
}

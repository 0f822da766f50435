// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! KVM_IOEVENTFD: which pairs of doorbells can have the same address.
//!
//! Two doorbells on one bus that start at one address collide if one of them takes every width, or
//! if both have the same width and either one takes every value or both take the same value. KVM
//! compares neither the eventfds nor ranges that overlap but start at different addresses.

use nix::errno::Errno::EEXIST;

use crate::backend::{Bus, Reply};
use crate::case::{Case, case};
use crate::event::Event;
use crate::expect::{expect_errno, expect_ok};
use crate::request::{CCW, IoEventFd, MMIO, PORT, doorbell, valued, wildcard};

/// Width and value; `None` is every value.
type Bell = (u32, Option<u64>);

const ANY0: Bell = (0, None);
const ANY1: Bell = (1, None);
const ANY2: Bell = (2, None);
const ANY4: Bell = (4, None);
const ANY8: Bell = (8, None);

const fn value4(value: u64) -> Bell {
    (4, Some(value))
}

const OK: Reply = Ok(0);
const TAKEN: Reply = Err(EEXIST);

/// The result of the second request, at the same address of the same bus.
const PAIRS: [(&str, Bell, Bell, Reply); 18] = [
    ("any4_then_any4", ANY4, ANY4, TAKEN),
    ("any4_then_value4", ANY4, value4(1), TAKEN),
    ("value4_then_any4", value4(1), ANY4, TAKEN),
    ("value4_then_the_same", value4(1), value4(1), TAKEN),
    ("value4_then_another", value4(1), value4(2), OK),
    // All 64 bits of the value are compared.
    (
        "value4_then_a_wider_one",
        value4(1),
        value4(0x1_0000_0001),
        OK,
    ),
    ("value4_then_the_same_of_2", value4(1), (2, Some(1)), OK),
    ("any4_then_any1", ANY4, ANY1, OK),
    ("any4_then_any2", ANY4, ANY2, OK),
    ("any4_then_any8", ANY4, ANY8, OK),
    ("any2_then_value4", ANY2, value4(1), OK),
    ("any0_then_any0", ANY0, ANY0, TAKEN),
    ("any0_then_any4", ANY0, ANY4, TAKEN),
    ("any4_then_any0", ANY4, ANY0, TAKEN),
    ("any8_then_any0", ANY8, ANY0, TAKEN),
    ("value2_then_any0", (2, Some(1)), ANY0, TAKEN),
    ("any0_then_value2", ANY0, (2, Some(1)), TAKEN),
    ("any0_then_value8", ANY0, (8, Some(0)), TAKEN),
];

/// Width and offset.
type Span = (u32, u64);

/// A second doorbell that starts elsewhere.
const OVERLAPS: [(&str, Span, Span); 5] = [
    ("any4_inside_any8", (8, 8), (4, 12)),
    ("any8_around_any4", (4, 12), (8, 8)),
    ("any4_across_any0", (0, 8), (4, 6)),
    ("any0_inside_any4", (4, 8), (0, 10)),
    ("any4_a_byte_later", (4, 8), (4, 9)),
];

fn bell(event: &Event, bus: Bus, addr: u64, (len, value): Bell) -> IoEventFd {
    match value {
        None => wildcard(event, bus, addr, len),
        Some(value) => valued(event, bus, addr, len, value),
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, first, second, reply) in PAIRS {
        for (bus, addr) in [(Bus::Mmio, MMIO), (Bus::Pio, PORT)] {
            let name = format!("{bus:?}_{name}").to_lowercase();
            cases.push(case(name, move |host| {
                let (vm, one, other) = (host.vm(), Event::new(), Event::new());
                expect_ok(vm.ioeventfd(&bell(&one, bus, addr, first)));
                assert_eq!(vm.ioeventfd(&bell(&other, bus, addr, second)), reply);
            }));
        }
    }
    for (name, first, second) in OVERLAPS {
        cases.push(case(format!("overlap_{name}"), move |host| {
            let (vm, event) = (host.vm(), Event::new());
            for (len, offset) in [first, second] {
                let request = wildcard(&event, Bus::Mmio, MMIO + offset, len);
                expect_ok(vm.ioeventfd(&request));
            }
        }));
    }
    cases.extend([
        case("one_eventfd_twice_at_one_address", |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.ioeventfd(&doorbell(&event)));
            expect_errno(vm.ioeventfd(&doorbell(&event)), EEXIST);
        }),
        case("one_eventfd_at_two_addresses", |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.ioeventfd(&doorbell(&event)));
            expect_ok(vm.ioeventfd(&wildcard(&event, Bus::Mmio, MMIO + 4, 4)));
        }),
        case("memory_and_port_of_one_number", |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.ioeventfd(&wildcard(&event, Bus::Mmio, PORT, 4)));
            expect_ok(vm.ioeventfd(&wildcard(&event, Bus::Pio, PORT, 4)));
        }),
        case("memory_and_channel_of_one_number", |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.ioeventfd(&doorbell(&event)));
            let channel = IoEventFd {
                flags: CCW,
                ..doorbell(&event)
            };
            expect_ok(vm.ioeventfd(&channel));
            expect_errno(vm.ioeventfd(&channel), EEXIST);
        }),
        case("a_refused_one_leaves_nothing", |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.ioeventfd(&valued(&event, Bus::Mmio, MMIO, 4, 1)));
            expect_errno(vm.ioeventfd(&wildcard(&event, Bus::Mmio, MMIO, 0)), EEXIST);
            // If it still existed, there could be no other beside it.
            expect_ok(vm.ioeventfd(&wildcard(&event, Bus::Mmio, MMIO, 2)));
        }),
    ]);
    cases
}

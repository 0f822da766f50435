// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! KVM_IOEVENTFD: what can be assigned.
//!
//! KVM checks in this order: length, end of the range, flags, a datamatch without a length, the
//! file descriptor, collisions, room on the bus.

use std::os::fd::AsRawFd;

use nix::errno::Errno::{EBADF, EEXIST, EINVAL};

use crate::backend::{Bus, Reply};
use crate::case::{Case, case};
use crate::event::{CLOSED, Event, pipe};
use crate::expect::{expect_errno, expect_ok};
use crate::request::{
    CCW, DATAMATCH, FAST_MMIO, IoEventFd, MMIO, PIO, PORT, doorbell, valued, wildcard,
};

const OK: Reply = Ok(0);
const INVALID: Reply = Err(EINVAL);

/// Any value of this length, in memory and at a port.
const LENGTHS: [(u32, Reply); 12] = [
    (0, OK),
    (1, OK),
    (2, OK),
    (3, INVALID),
    (4, OK),
    (5, INVALID),
    (6, INVALID),
    (7, INVALID),
    (8, OK),
    (9, INVALID),
    (16, INVALID),
    (u32::MAX, INVALID),
];

/// Ranges may not reach the end of the address space. KVM does not check the end of the ports.
const PLACES: [(&str, Bus, u64, u32, Reply); 10] = [
    ("assign_at_0", Bus::Mmio, 0, 4, OK),
    ("assign_at_an_odd_address", Bus::Mmio, MMIO + 1, 4, OK),
    ("assign_last_byte", Bus::Mmio, u64::MAX, 1, INVALID),
    ("assign_last_8_bytes", Bus::Mmio, u64::MAX - 7, 8, INVALID),
    (
        "assign_8_bytes_before_the_last",
        Bus::Mmio,
        u64::MAX - 8,
        8,
        OK,
    ),
    ("assign_last_byte_of_any_width", Bus::Mmio, u64::MAX, 0, OK),
    ("assign_last_port", Bus::Pio, 0xffff, 1, OK),
    ("assign_port_0x10000", Bus::Pio, 0x1_0000, 4, OK),
    (
        "assign_ports_that_end_beyond_0xffff",
        Bus::Pio,
        0xffff,
        4,
        OK,
    ),
    (
        "assign_port_2_to_the_64_less_1",
        Bus::Pio,
        u64::MAX,
        1,
        INVALID,
    ),
];

const FLAGS: [(&str, u32, Reply); 9] = [
    ("flags_none", 0, OK),
    ("flags_pio", PIO, OK),
    ("flags_ccw_on_x86", CCW, OK),
    ("flags_ccw_and_pio", CCW | PIO, OK),
    ("flags_0x10", FAST_MMIO, OK),
    ("flags_datamatch", DATAMATCH, OK),
    ("flags_0x20", 0x20, INVALID),
    ("flags_0x40", 0x40, INVALID),
    ("flags_0x80000000", 0x8000_0000, INVALID),
];

/// Without an eventfd: EBADF shows that no earlier check failed.
const ORDER: [(&str, IoEventFd, Reply); 6] = {
    let none = IoEventFd {
        datamatch: 0,
        addr: MMIO,
        len: 4,
        fd: -1,
        flags: 0,
    };
    [
        ("fd_minus_1", none, Err(EBADF)),
        ("fd_closed", IoEventFd { fd: CLOSED, ..none }, Err(EBADF)),
        ("length_before_fd", IoEventFd { len: 3, ..none }, INVALID),
        (
            "end_before_fd",
            IoEventFd {
                addr: u64::MAX,
                ..none
            },
            INVALID,
        ),
        (
            "flags_before_fd",
            IoEventFd {
                flags: 0x20,
                ..none
            },
            INVALID,
        ),
        (
            "datamatch_without_length_before_fd",
            IoEventFd {
                len: 0,
                flags: DATAMATCH,
                ..none
            },
            INVALID,
        ),
    ]
};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (len, reply) in LENGTHS {
        for (bus, start) in [(Bus::Mmio, MMIO), (Bus::Pio, PORT)] {
            let name = format!("assign_{bus:?}_len_{len:#x}").to_lowercase();
            cases.push(case(name, move |host| {
                let event = Event::new();
                let request = wildcard(&event, bus, start, len);
                assert_eq!(host.vm().ioeventfd(&request), reply);
            }));
        }
    }
    for (name, bus, addr, len, reply) in PLACES {
        cases.push(case(name, move |host| {
            let event = Event::new();
            let request = wildcard(&event, bus, addr, len);
            assert_eq!(host.vm().ioeventfd(&request), reply);
        }));
    }
    for (name, flags, reply) in FLAGS {
        cases.push(case(name, move |host| {
            let event = Event::new();
            let request = IoEventFd {
                flags,
                ..doorbell(&event)
            };
            assert_eq!(host.vm().ioeventfd(&request), reply);
        }));
    }
    for (name, request, reply) in ORDER {
        cases.push(case(name, move |host| {
            assert_eq!(host.vm().ioeventfd(&request), reply);
        }));
    }
    cases.extend([
        case("fd_of_a_pipe", |host| {
            let pipe = pipe();
            let request = IoEventFd {
                fd: pipe.as_raw_fd(),
                ..doorbell(&Event::new())
            };
            expect_errno(host.vm().ioeventfd(&request), EINVAL);
        }),
        case("fd_before_collision", |host| {
            let (vm, event, pipe) = (host.vm(), Event::new(), pipe());
            expect_ok(vm.ioeventfd(&doorbell(&event)));
            for (fd, errno) in [(-1, EBADF), (pipe.as_raw_fd(), EINVAL)] {
                let request = IoEventFd {
                    fd,
                    ..doorbell(&event)
                };
                expect_errno(vm.ioeventfd(&request), errno);
            }
        }),
        case("datamatch_without_length", |host| {
            let event = Event::new();
            let request = valued(&event, Bus::Mmio, MMIO, 0, 0);
            expect_errno(host.vm().ioeventfd(&request), EINVAL);
        }),
        case("datamatch_wider_than_length", |host| {
            let event = Event::new();
            let request = valued(&event, Bus::Mmio, MMIO, 1, 0x1ff);
            expect_ok(host.vm().ioeventfd(&request));
        }),
        case("datamatch_is_compared_whole", |host| {
            let (vm, event) = (host.vm(), Event::new());
            // They differ in a bit that one byte does not have.
            expect_ok(vm.ioeventfd(&valued(&event, Bus::Mmio, MMIO, 1, 0x1ff)));
            expect_ok(vm.ioeventfd(&valued(&event, Bus::Mmio, MMIO, 1, 0x0ff)));
        }),
        case("flag_0x10_changes_nothing", |host| {
            let (vm, event) = (host.vm(), Event::new());
            let strange = IoEventFd {
                flags: FAST_MMIO,
                ..doorbell(&event)
            };
            expect_ok(vm.ioeventfd(&strange));
            expect_errno(vm.ioeventfd(&doorbell(&event)), EEXIST);
        }),
        case("ccw_and_pio_is_pio", |host| {
            let (vm, event) = (host.vm(), Event::new());
            let both = IoEventFd {
                flags: CCW | PIO,
                ..doorbell(&event)
            };
            expect_ok(vm.ioeventfd(&both));
            let port = wildcard(&event, Bus::Pio, MMIO, 4);
            expect_errno(vm.ioeventfd(&port), EEXIST);
        }),
        case("without_an_irqchip", |host| {
            let event = Event::new();
            expect_ok(host.bare().ioeventfd(&doorbell(&event)));
        }),
        case("on_a_split_irqchip", |host| {
            let event = Event::new();
            expect_ok(host.split().ioeventfd(&doorbell(&event)));
        }),
        case("an_eventfd_in_two_machines", |host| {
            let (one, other, event) = (host.bare(), host.bare(), Event::new());
            expect_ok(one.ioeventfd(&doorbell(&event)));
            expect_ok(other.ioeventfd(&doorbell(&event)));
        }),
    ]);
    cases
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! KVM_IOEVENTFD with DEASSIGN: which parameters must match those of the assignment.
//!
//! Bus, eventfd (a duplicate will do), address, length, whether there is a datamatch, and its
//! value. Only the file descriptor is checked; other wrong parameters give ENOENT.

use std::os::fd::AsRawFd;

use nix::errno::Errno::{self, EBADF, EEXIST, EINVAL, ENOENT};

use crate::backend::Bus;
use crate::case::{Case, case};
use crate::event::{CLOSED, Event, pipe};
use crate::expect::{expect_errno, expect_ok};
use crate::request::{CCW, DATAMATCH, IoEventFd, MMIO, PIO, deassign, doorbell, valued, wildcard};

/// The change to the request that assigned a doorbell for the value 5, and the result.
type Change = (&'static str, fn(IoEventFd) -> IoEventFd, Result<(), Errno>);

const CHANGES: [Change; 12] = [
    ("nothing", |all| all, Ok(())),
    (
        "address",
        |all| IoEventFd {
            addr: MMIO + 4,
            ..all
        },
        Err(ENOENT),
    ),
    ("length", |all| IoEventFd { len: 2, ..all }, Err(ENOENT)),
    (
        "length_none",
        |all| IoEventFd { len: 0, ..all },
        Err(ENOENT),
    ),
    (
        "length_illegal",
        |all| IoEventFd { len: 3, ..all },
        Err(ENOENT),
    ),
    (
        "value",
        |all| IoEventFd {
            datamatch: 6,
            ..all
        },
        Err(ENOENT),
    ),
    (
        "no_datamatch",
        |all| IoEventFd {
            flags: all.flags & !DATAMATCH,
            ..all
        },
        Err(ENOENT),
    ),
    (
        "port",
        |all| IoEventFd {
            flags: all.flags | PIO,
            ..all
        },
        Err(ENOENT),
    ),
    (
        "channel",
        |all| IoEventFd {
            flags: all.flags | CCW,
            ..all
        },
        Err(ENOENT),
    ),
    (
        "unknown_flag",
        |all| IoEventFd {
            flags: all.flags | 0x20,
            ..all
        },
        Ok(()),
    ),
    ("fd_minus_1", |all| IoEventFd { fd: -1, ..all }, Err(EBADF)),
    (
        "fd_closed",
        |all| IoEventFd { fd: CLOSED, ..all },
        Err(EBADF),
    ),
];

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, change, reply) in CHANGES {
        cases.push(case(format!("with_other_{name}"), move |host| {
            let (vm, event) = (host.vm(), Event::new());
            let request = valued(&event, Bus::Mmio, MMIO, 4, 5);
            expect_ok(vm.ioeventfd(&request));
            let returned = vm.ioeventfd(&deassign(change(request)));
            assert_eq!(returned, reply.map(|()| 0));
            // The doorbell still exists unless it was deassigned.
            let again = vm.ioeventfd(&request);
            assert_eq!(again, if reply.is_ok() { Ok(0) } else { Err(EEXIST) });
        }));
    }
    cases.extend([
        case("with_another_eventfd", |host| {
            let (vm, event, other) = (host.vm(), Event::new(), Event::new());
            expect_ok(vm.ioeventfd(&doorbell(&event)));
            expect_errno(vm.ioeventfd(&deassign(doorbell(&other))), ENOENT);
        }),
        case("with_a_duplicate_of_the_eventfd", |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.ioeventfd(&doorbell(&event)));
            expect_ok(vm.ioeventfd(&deassign(doorbell(&event.dup()))));
        }),
        case("with_a_pipe", |host| {
            let (vm, event, pipe) = (host.vm(), Event::new(), pipe());
            expect_ok(vm.ioeventfd(&doorbell(&event)));
            let request = IoEventFd {
                fd: pipe.as_raw_fd(),
                ..deassign(doorbell(&event))
            };
            expect_errno(vm.ioeventfd(&request), EINVAL);
        }),
        case("twice", |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.ioeventfd(&doorbell(&event)));
            expect_ok(vm.ioeventfd(&deassign(doorbell(&event))));
            expect_errno(vm.ioeventfd(&deassign(doorbell(&event))), ENOENT);
        }),
        case("never_assigned", |host| {
            let event = Event::new();
            expect_errno(host.vm().ioeventfd(&deassign(doorbell(&event))), ENOENT);
        }),
        case("a_value_without_its_flag_is_not_looked_at", |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.ioeventfd(&doorbell(&event)));
            let request = IoEventFd {
                datamatch: 0x1234,
                ..deassign(doorbell(&event))
            };
            expect_ok(vm.ioeventfd(&request));
        }),
        case("one_of_two_values", |host| {
            let (vm, event) = (host.vm(), Event::new());
            let bell = |value| valued(&event, Bus::Mmio, MMIO, 4, value);
            expect_ok(vm.ioeventfd(&bell(1)));
            expect_ok(vm.ioeventfd(&bell(2)));
            expect_ok(vm.ioeventfd(&deassign(bell(1))));
            assert_eq!(vm.guest_write(Bus::Mmio, MMIO, &[1, 0, 0, 0]).len(), 1);
            vm.expect_taken(Bus::Mmio, MMIO, &[2, 0, 0, 0]);
        }),
        case("then_writes_exit", |host| {
            let (vm, event) = (host.vm(), Event::new());
            let bell = wildcard(&event, Bus::Pio, 0x510, 2);
            expect_ok(vm.ioeventfd(&bell));
            vm.expect_taken(Bus::Pio, 0x510, &[7, 0]);
            expect_ok(vm.ioeventfd(&deassign(bell)));
            vm.expect_exit(Bus::Pio, 0x510, &[7, 0]);
            assert_eq!(event.read(), Ok(1));
        }),
        case("closed_eventfd_keeps_its_address", |host| {
            let (vm, event, other) = (host.vm(), Event::new(), Event::new());
            expect_ok(vm.ioeventfd(&doorbell(&event)));
            drop(event);
            expect_errno(vm.ioeventfd(&doorbell(&other)), EEXIST);
            vm.expect_taken(Bus::Mmio, MMIO, &[7, 0, 0, 0]);
        }),
        case("closed_eventfd_is_not_the_next_of_its_number", |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.ioeventfd(&doorbell(&event)));
            let number = event.fd();
            drop(event);
            let next = Event::new();
            assert_eq!(next.fd(), number, "the lowest free number");
            expect_errno(vm.ioeventfd(&deassign(doorbell(&next))), ENOENT);
            expect_errno(vm.ioeventfd(&doorbell(&next)), EEXIST);
        }),
    ]);
    cases
}

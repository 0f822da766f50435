// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! KVM_IRQFD: what can be assigned and deassigned.
//!
//! KVM checks in this order: flags, whether there is an irqchip (and a full one for resampling),
//! the file descriptor, the resample file descriptor, whether the eventfd is bound already. The GSI
//! is not checked. DEASSIGN needs only a valid eventfd.

use std::os::fd::AsRawFd;

use nix::errno::Errno::{EBADF, EBUSY, EINVAL};

use crate::backend::{Irqchip, Reply};
use crate::case::{Case, Host, case};
use crate::event::{CLOSED, Event, pipe};
use crate::expect::{expect_errno, expect_ok};
use crate::request::{IRQFD_DEASSIGN, IrqFd, RESAMPLE, doorbell, irqfd, resampling, unbind};

const INVALID: Reply = Err(EINVAL);
const BAD_FD: Reply = Err(EBADF);

const GSIS: [u32; 10] = [
    0,
    1,
    15,
    23,
    24,
    100,
    0xfff,
    0x1000,
    0x7fff_ffff,
    0xffff_ffff,
];

/// Requests without an eventfd: name, irqchip, fd, flags.
const ORDER: [(&str, Irqchip, i32, u32, Reply); 16] = [
    ("fd_minus_1", Irqchip::Full, -1, 0, BAD_FD),
    ("fd_closed", Irqchip::Full, CLOSED, 0, BAD_FD),
    ("flags_4_before_fd", Irqchip::Full, -1, 4, INVALID),
    (
        "flags_0x80000000_before_fd",
        Irqchip::Full,
        -1,
        1 << 31,
        INVALID,
    ),
    (
        "flags_deassign_and_4_before_fd",
        Irqchip::Full,
        -1,
        5,
        INVALID,
    ),
    ("resample_fd_minus_1", Irqchip::Full, -1, RESAMPLE, BAD_FD),
    (
        "deassign_fd_minus_1",
        Irqchip::Full,
        -1,
        IRQFD_DEASSIGN,
        BAD_FD,
    ),
    (
        "deassign_fd_closed",
        Irqchip::Full,
        CLOSED,
        IRQFD_DEASSIGN,
        BAD_FD,
    ),
    ("split_fd_minus_1", Irqchip::Split, -1, 0, BAD_FD),
    (
        "split_resample_before_fd",
        Irqchip::Split,
        -1,
        RESAMPLE,
        INVALID,
    ),
    (
        "split_deassign_fd_minus_1",
        Irqchip::Split,
        -1,
        IRQFD_DEASSIGN,
        BAD_FD,
    ),
    ("no_irqchip_before_fd", Irqchip::None, -1, 0, INVALID),
    (
        "no_irqchip_resample_before_fd",
        Irqchip::None,
        -1,
        RESAMPLE,
        INVALID,
    ),
    ("no_irqchip_flags_4", Irqchip::None, -1, 4, INVALID),
    (
        "no_irqchip_deassign_fd_minus_1",
        Irqchip::None,
        -1,
        IRQFD_DEASSIGN,
        BAD_FD,
    ),
    ("no_irqchip_deassign_flags_4", Irqchip::None, -1, 5, INVALID),
];

fn with_pipe(flags: u32) -> impl Fn(&Host) + Send {
    move |host| {
        let pipe = pipe();
        let request = IrqFd {
            fd: pipe.as_raw_fd(),
            flags,
            ..IrqFd::default()
        };
        expect_errno(host.vm().irqfd(&request), EINVAL);
    }
}

/// With an invalid resample file descriptor.
fn with_resample_fd(fd: i32, reply: Reply) -> impl Fn(&Host) + Send {
    move |host| {
        let event = Event::new();
        let request = IrqFd {
            flags: RESAMPLE,
            resamplefd: fd,
            ..irqfd(&event, 10)
        };
        let vm = host.vm();
        assert_eq!(vm.irqfd(&request), reply);
        // The refused request has left no irqfd behind.
        expect_ok(vm.irqfd(&irqfd(&event, 10)));
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for gsi in GSIS {
        cases.push(case(format!("gsi_{gsi:#x}"), move |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.irqfd(&irqfd(&event, gsi)));
            expect_ok(vm.irqfd(&unbind(&event, gsi)));
        }));
    }
    for (name, irqchip, fd, flags, reply) in ORDER {
        cases.push(case(name, move |host| {
            let request = IrqFd {
                fd,
                flags,
                ..IrqFd::default()
            };
            assert_eq!(host.machine(irqchip, 1).irqfd(&request), reply);
        }));
    }
    cases.extend([
        case("fd_of_a_pipe", with_pipe(0)),
        case("deassign_fd_of_a_pipe", with_pipe(IRQFD_DEASSIGN)),
        case("resample_fd_of_a_pipe", with_pipe(RESAMPLE)),
        case("resamplefd_minus_1", with_resample_fd(-1, BAD_FD)),
        case("resamplefd_closed", with_resample_fd(CLOSED, BAD_FD)),
        case("resamplefd_of_a_pipe", |host| {
            let pipe = pipe();
            with_resample_fd(pipe.as_raw_fd(), INVALID)(host);
        }),
        case("resamplefd_without_its_flag_is_not_looked_at", |host| {
            let event = Event::new();
            let request = IrqFd {
                resamplefd: CLOSED,
                ..irqfd(&event, 10)
            };
            expect_ok(host.vm().irqfd(&request));
        }),
    ]);
    cases.extend(irqchips());
    cases.extend(busy());
    cases.extend(resample());
    cases.extend(taking_off());
    cases.extend(closing());
    cases
}

fn irqchips() -> Vec<Case> {
    vec![
        case("no_irqchip_assign", |host| {
            expect_errno(host.bare().irqfd(&irqfd(&Event::new(), 1)), EINVAL);
        }),
        case("no_irqchip_deassign", |host| {
            expect_ok(host.bare().irqfd(&unbind(&Event::new(), 1)));
        }),
        case("split_assign", |host| {
            expect_ok(host.split().irqfd(&irqfd(&Event::new(), 1)));
        }),
        case("split_resample", |host| {
            let (event, resample) = (Event::new(), Event::new());
            let request = resampling(&event, 1, &resample);
            expect_errno(host.split().irqfd(&request), EINVAL);
        }),
        case("no_vcpu", |host| {
            let vm = host.machine(Irqchip::Full, 0);
            expect_ok(vm.irqfd(&irqfd(&Event::new(), 1)));
        }),
    ]
}

/// One eventfd, one GSI, one VM.
fn busy() -> Vec<Case> {
    vec![
        case("busy_same_gsi", |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.irqfd(&irqfd(&event, 10)));
            expect_errno(vm.irqfd(&irqfd(&event, 10)), EBUSY);
        }),
        case("busy_other_gsi", |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.irqfd(&irqfd(&event, 10)));
            expect_errno(vm.irqfd(&irqfd(&event, 11)), EBUSY);
        }),
        case("busy_by_a_duplicate", |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.irqfd(&irqfd(&event, 10)));
            expect_errno(vm.irqfd(&irqfd(&event.dup(), 11)), EBUSY);
        }),
        case("busy_in_another_machine", |host| {
            let (one, other, event) = (host.vm(), host.vm(), Event::new());
            expect_ok(one.irqfd(&irqfd(&event, 10)));
            // Before Linux 6.17 the request of the second VM succeeds, but its irqfd never fires.
            if host.is_linux_since(6, 17) {
                expect_errno(other.irqfd(&irqfd(&event, 10)), EBUSY);
            }
            drop(one);
            expect_ok(other.irqfd(&irqfd(&event, 10)));
        }),
        case("busy_resample_after_plain", |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.irqfd(&irqfd(&event, 10)));
            expect_errno(vm.irqfd(&resampling(&event, 10, &Event::new())), EBUSY);
        }),
        case("busy_resample_after_resample", |host| {
            let (vm, event, resample) = (host.vm(), Event::new(), Event::new());
            expect_ok(vm.irqfd(&resampling(&event, 10, &resample)));
            expect_errno(vm.irqfd(&resampling(&event, 10, &resample)), EBUSY);
        }),
        case("busy_after_the_resamplefd_was_checked", |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.irqfd(&irqfd(&event, 10)));
            let request = IrqFd {
                flags: RESAMPLE,
                resamplefd: -1,
                ..irqfd(&event, 10)
            };
            expect_errno(vm.irqfd(&request), EBADF);
        }),
        case("two_eventfds_on_one_gsi", |host| {
            let vm = host.vm();
            let (one, other) = (Event::new(), Event::new());
            expect_ok(vm.irqfd(&irqfd(&one, 10)));
            expect_ok(vm.irqfd(&irqfd(&other, 10)));
        }),
        case("plain_and_resample_on_one_gsi", |host| {
            let vm = host.vm();
            let (plain, level) = (Event::new(), Event::new());
            expect_ok(vm.irqfd(&irqfd(&plain, 10)));
            expect_ok(vm.irqfd(&resampling(&level, 10, &Event::new())));
        }),
        case("bound_and_a_doorbell_too", |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.irqfd(&irqfd(&event, 10)));
            expect_ok(vm.ioeventfd(&doorbell(&event)));
        }),
    ]
}

fn resample() -> Vec<Case> {
    vec![
        case("resample", |host| {
            let (event, resample) = (Event::new(), Event::new());
            expect_ok(host.vm().irqfd(&resampling(&event, 10, &resample)));
        }),
        case("resample_of_a_gsi_that_no_route_can_have", |host| {
            let (event, resample) = (Event::new(), Event::new());
            expect_ok(host.vm().irqfd(&resampling(&event, 4096, &resample)));
        }),
        case("resamplefd_is_the_eventfd_itself", |host| {
            let event = Event::new();
            expect_ok(host.vm().irqfd(&resampling(&event, 10, &event)));
        }),
        case("resamplefd_is_bound_itself", |host| {
            let (vm, event, resample) = (host.vm(), Event::new(), Event::new());
            expect_ok(vm.irqfd(&irqfd(&resample, 7)));
            expect_ok(vm.irqfd(&resampling(&event, 5, &resample)));
        }),
        case("resamplefd_of_two", |host| {
            let (vm, resample) = (host.vm(), Event::new());
            let (one, other) = (Event::new(), Event::new());
            expect_ok(vm.irqfd(&resampling(&one, 5, &resample)));
            expect_ok(vm.irqfd(&resampling(&other, 6, &resample)));
        }),
    ]
}

fn taking_off() -> Vec<Case> {
    vec![
        case("deassign_by_a_duplicate", |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.irqfd(&irqfd(&event, 10)));
            expect_ok(vm.irqfd(&unbind(&event.dup(), 10)));
            expect_ok(vm.irqfd(&irqfd(&event, 10)));
        }),
        case("deassign_of_another_gsi_does_nothing", |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.irqfd(&irqfd(&event, 10)));
            expect_ok(vm.irqfd(&unbind(&event, 11)));
            expect_errno(vm.irqfd(&irqfd(&event, 10)), EBUSY);
        }),
        case("deassign_of_what_was_never_bound", |host| {
            expect_ok(host.vm().irqfd(&unbind(&Event::new(), 10)));
        }),
        case("deassign_twice", |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.irqfd(&irqfd(&event, 10)));
            expect_ok(vm.irqfd(&unbind(&event, 10)));
            expect_ok(vm.irqfd(&unbind(&event, 10)));
        }),
        case("deassign_in_another_machine_does_nothing", |host| {
            let (one, other, event) = (host.vm(), host.vm(), Event::new());
            expect_ok(one.irqfd(&irqfd(&event, 10)));
            expect_ok(other.irqfd(&unbind(&event, 10)));
            expect_errno(one.irqfd(&irqfd(&event, 10)), EBUSY);
        }),
        case("deassign_ignores_resample", |host| {
            let (vm, event, resample) = (host.vm(), Event::new(), Event::new());
            expect_ok(vm.irqfd(&resampling(&event, 10, &resample)));
            let request = IrqFd {
                flags: IRQFD_DEASSIGN | RESAMPLE,
                resamplefd: -1,
                ..irqfd(&event, 10)
            };
            expect_ok(vm.irqfd(&request));
            expect_ok(vm.irqfd(&irqfd(&event, 10)));
        }),
        case("deassign_without_resample_takes_a_resampler_off", |host| {
            let (vm, event, resample) = (host.vm(), Event::new(), Event::new());
            expect_ok(vm.irqfd(&resampling(&event, 10, &resample)));
            expect_ok(vm.irqfd(&unbind(&event, 10)));
            expect_ok(vm.irqfd(&irqfd(&event, 10)));
        }),
        case("deassign_on_a_split_irqchip_ignores_resample", |host| {
            let (vm, event) = (host.split(), Event::new());
            expect_ok(vm.irqfd(&irqfd(&event, 10)));
            let request = IrqFd {
                flags: IRQFD_DEASSIGN | RESAMPLE,
                ..irqfd(&event, 10)
            };
            expect_ok(vm.irqfd(&request));
            expect_ok(vm.irqfd(&irqfd(&event, 10)));
        }),
        case("deassign_one_of_two_on_a_gsi", |host| {
            let vm = host.vm();
            let (one, other) = (Event::new(), Event::new());
            expect_ok(vm.irqfd(&irqfd(&one, 10)));
            expect_ok(vm.irqfd(&irqfd(&other, 10)));
            expect_ok(vm.irqfd(&unbind(&one, 10)));
            expect_errno(vm.irqfd(&irqfd(&other, 10)), EBUSY);
            expect_ok(vm.irqfd(&irqfd(&one, 10)));
        }),
    ]
}

fn closing() -> Vec<Case> {
    vec![
        case("closing_one_of_two_duplicates_keeps_it_bound", |host| {
            let (vm, event) = (host.vm(), Event::new());
            let dup = event.dup();
            expect_ok(vm.irqfd(&irqfd(&event, 10)));
            drop(event);
            expect_errno(vm.irqfd(&irqfd(&dup, 10)), EBUSY);
        }),
        case("closing_the_last_one_frees_its_number", |host| {
            let (vm, event) = (host.vm(), Event::new());
            expect_ok(vm.irqfd(&irqfd(&event, 10)));
            drop(event);
            // The number may be the same, but it is another eventfd.
            expect_ok(vm.irqfd(&irqfd(&Event::new(), 10)));
        }),
        case("the_end_of_the_machine_takes_it_off", |host| {
            let event = Event::new();
            let vm = host.vm();
            expect_ok(vm.irqfd(&irqfd(&event, 10)));
            drop(vm);
            assert_eq!(event.write(1), Ok(8));
            assert_eq!(event.read(), Ok(1), "a plain eventfd again");
            expect_ok(host.vm().irqfd(&irqfd(&event, 10)));
        }),
    ]
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! KVM_IRQFD: what it accepts, and in which order it checks.

use std::os::fd::AsRawFd;

use notify_sim::raw::IrqFd;
use notify_sim::{Profile, SimVm};

use crate::common::*;

#[test]
fn unknown_flags_are_looked_at_first() {
    for profile in [Profile::X86, Profile::None] {
        let vm = machine(profile);
        for flags in [4, 5, 0x8000_0000] {
            let args = IrqFd {
                fd: -1,
                flags,
                ..IrqFd::default()
            };
            expect_errno(vm.kvm_irqfd(&args), libc::EINVAL);
        }
    }
}

#[test]
fn the_irqchip_is_looked_for_before_the_eventfd() {
    let vm = machine(Profile::None);
    let nothing = IrqFd {
        fd: -1,
        ..IrqFd::default()
    };
    expect_errno(vm.kvm_irqfd(&nothing), libc::EINVAL);
    expect_errno(pc().kvm_irqfd(&nothing), libc::EBADF);
}

#[test]
fn numbers_that_are_closed_or_no_eventfds_are_told_apart() {
    let vm = pc();
    let (pipe, _writer) = std::io::pipe().unwrap();
    let good = eventfd();
    for (fd, errno) in [
        (-1, libc::EBADF),
        (9999, libc::EBADF),
        (pipe.as_raw_fd(), libc::EINVAL),
    ] {
        for flags in [0, DEASSIGN] {
            let args = IrqFd {
                fd,
                flags,
                ..IrqFd::default()
            };
            expect_errno(vm.kvm_irqfd(&args), errno);
        }
        let resample = IrqFd {
            resamplefd: fd,
            ..irqfd(&good, 5, RESAMPLE)
        };
        expect_errno(vm.kvm_irqfd(&resample), errno);
    }
}

#[test]
fn the_gsi_is_never_checked() {
    let vm = pc();
    let one = eventfd();
    for gsi in [0, 23, 24, 4095, 4096, 0x7fff_ffff, u32::MAX] {
        vm.kvm_irqfd(&irqfd(&one, gsi, 0)).unwrap();
        vm.kvm_irqfd(&irqfd(&one, gsi, DEASSIGN)).unwrap();
    }
}

#[test]
fn one_eventfd_has_room_for_one_irqfd_whatever_the_number() {
    let vm = pc();
    let (one, other) = (eventfd(), eventfd());
    let duplicate = one.try_clone().unwrap();
    vm.kvm_irqfd(&irqfd(&one, 5, 0)).unwrap();
    expect_errno(vm.kvm_irqfd(&irqfd(&one, 5, 0)), libc::EBUSY);
    expect_errno(vm.kvm_irqfd(&irqfd(&duplicate, 6, 0)), libc::EBUSY);
    vm.kvm_irqfd(&irqfd(&other, 5, 0)).unwrap();
    vm.kvm_irqfd(&irqfd(&duplicate, 5, DEASSIGN)).unwrap();
    vm.kvm_irqfd(&irqfd(&one, 6, 0)).unwrap();
}

#[test]
fn one_eventfd_cannot_be_bound_in_two_machines() {
    let (vm, second) = (pc(), pc());
    let one = eventfd();
    vm.kvm_irqfd(&irqfd(&one, 5, 0)).unwrap();
    expect_errno(second.kvm_irqfd(&irqfd(&one, 5, 0)), libc::EBUSY);
    second.kvm_irqfd(&irqfd(&one, 5, DEASSIGN)).unwrap();
    expect_errno(second.kvm_irqfd(&irqfd(&one, 5, 0)), libc::EBUSY);
    drop(vm);
    second.kvm_irqfd(&irqfd(&one, 5, 0)).unwrap();
}

#[test]
fn deassigning_what_was_never_bound_succeeds() {
    let one = eventfd();
    machine(Profile::None)
        .kvm_irqfd(&irqfd(&one, 5, DEASSIGN))
        .unwrap();
    let vm = pc();
    vm.kvm_irqfd(&irqfd(&one, 5, DEASSIGN)).unwrap();
    vm.kvm_irqfd(&irqfd(&one, 5, 0)).unwrap();
    vm.kvm_irqfd(&irqfd(&one, 6, DEASSIGN)).unwrap();
    expect_errno(vm.kvm_irqfd(&irqfd(&one, 5, 0)), libc::EBUSY);
    let ignored = IrqFd {
        resamplefd: -1,
        ..irqfd(&one, 5, DEASSIGN | RESAMPLE)
    };
    vm.kvm_irqfd(&ignored).unwrap();
    vm.kvm_irqfd(&irqfd(&one, 5, 0)).unwrap();
}

#[test]
fn resample_needs_the_full_irqchip() {
    let vm = machine(Profile::X86Split { pins: 24 });
    let one = eventfd();
    expect_errno(vm.kvm_irqfd(&level(&one, 5, &one)), libc::EINVAL);
    vm.kvm_irqfd(&irqfd(&one, 5, 0)).unwrap();
}

#[test]
fn an_eventfd_may_be_its_own_resample_eventfd() {
    let one = eventfd();
    pc().kvm_irqfd(&level(&one, 5, &one)).unwrap();
}

#[test]
fn the_machine_keeps_what_the_caller_closed() {
    let vm = pc();
    route(&vm, &[msi(24, 0x41)]).unwrap();
    let one = eventfd();
    let kept = one.try_clone().unwrap();
    vm.kvm_irqfd(&irqfd(&one, 24, 0)).unwrap();
    drop(one);
    kept.notify().unwrap();
    expect_vectors(&vm, &[0x41]);
    expect_errno(vm.kvm_irqfd(&irqfd(&kept, 24, 0)), libc::EBUSY);
}

#[test]
fn a_machine_of_no_vcpu_binds_as_well() {
    let vm = SimVm::builder().vcpus(0).build();
    let one = eventfd();
    vm.kvm_irqfd(&irqfd(&one, 5, 0)).unwrap();
    one.notify().unwrap();
    assert_eq!(vm.pic().unwrap()[0].irr, 0x20);
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! KVM_IOEVENTFD: validation, collisions, deassignment.

use std::os::fd::AsRawFd;

use notify_core::{Bus, EventFd, EventNotifier};
use notify_sim::raw::IoEventFd;
use notify_sim::{Profile, SimVm};

use crate::common::*;

const AT: u64 = 0xd000_0000;

fn with_flags(args: IoEventFd, flags: u32) -> IoEventFd {
    IoEventFd { flags, ..args }
}

#[test]
fn the_width_is_a_power_of_two_up_to_eight_or_any() {
    let vm = pc();
    let one = eventfd();
    for len in 0..=17 {
        for flags in [0, PIO] {
            let args = with_flags(doorbell(&one, 0x1000 + u64::from(len) * 32, len), flags);
            match len {
                0 | 1 | 2 | 4 | 8 => drop(vm.kvm_ioeventfd(&args).unwrap()),
                _ => expect_errno(vm.kvm_ioeventfd(&args), libc::EINVAL),
            }
        }
    }
}

#[test]
fn a_range_must_not_reach_the_end_of_the_address_space() {
    let vm = pc();
    let one = eventfd();
    for (address, len) in [(u64::MAX, 1), (u64::MAX - 7, 8)] {
        expect_errno(
            vm.kvm_ioeventfd(&doorbell(&one, address, len)),
            libc::EINVAL,
        );
    }
    vm.kvm_ioeventfd(&doorbell(&one, u64::MAX - 8, 8)).unwrap();
    vm.kvm_ioeventfd(&doorbell(&one, u64::MAX, 0)).unwrap();
}

#[test]
fn everything_is_checked_before_the_eventfd() {
    let vm = pc();
    let one = eventfd();
    let nothing = |len, flags| IoEventFd {
        fd: -1,
        len,
        flags,
        ..IoEventFd::default()
    };
    for args in [nothing(3, 0), nothing(4, 0x20), nothing(0, DATAMATCH)] {
        expect_errno(vm.kvm_ioeventfd(&args), libc::EINVAL);
    }
    expect_errno(vm.kvm_ioeventfd(&nothing(4, 0)), libc::EBADF);
    let (pipe, _writer) = std::io::pipe().unwrap();
    let no_eventfd = IoEventFd {
        fd: pipe.as_raw_fd(),
        ..nothing(4, 0)
    };
    expect_errno(vm.kvm_ioeventfd(&no_eventfd), libc::EINVAL);
    vm.kvm_ioeventfd(&doorbell(&one, 0, 4)).unwrap();
    expect_errno(vm.kvm_ioeventfd(&nothing(4, 0)), libc::EBADF);
}

#[test]
fn odd_requests_are_accepted() {
    let vm = pc();
    let one = eventfd();
    for args in [
        with_flags(doorbell(&one, 0x1_0000, 4), PIO),
        with_flags(doorbell(&one, 0xffff, 4), PIO),
        matching(&one, AT, 1, 0x1ff),
        matching(&one, AT, 1, 0xff),
        with_flags(doorbell(&one, AT + 8, 4), 0x10),
        with_flags(doorbell(&one, AT, 4), 8),
        with_flags(doorbell(&one, 0x2000, 4), 8 | PIO),
    ] {
        vm.kvm_ioeventfd(&args).unwrap();
    }
    expect_errno(
        vm.kvm_ioeventfd(&with_flags(doorbell(&one, 0x2000, 4), PIO)),
        libc::EEXIST,
    );
    expect_errno(vm.kvm_ioeventfd(&doorbell(&one, AT + 8, 4)), libc::EEXIST);
}

#[test]
fn collisions_follow_the_formula() {
    let one = eventfd();
    let wild = |len| doorbell(&one, AT, len);
    let value = |len, value| matching(&one, AT, len, value);
    for (first, second, collide) in [
        (wild(4), wild(4), true),
        (wild(4), value(4, 1), true),
        (value(4, 1), wild(4), true),
        (value(4, 1), value(4, 1), true),
        (value(4, 1), value(4, 2), false),
        (value(4, 1), value(4, 0x1_0000_0001), false),
        (wild(4), wild(2), false),
        (wild(4), wild(8), false),
        (wild(0), wild(4), true),
        (wild(4), wild(0), true),
        (value(2, 1), wild(0), true),
        (wild(0), value(2, 1), true),
        (wild(0), wild(0), true),
        (doorbell(&one, AT, 8), doorbell(&one, AT + 4, 4), false),
        (wild(4), with_flags(wild(4), PIO), false),
        (wild(4), with_flags(wild(4), 8), false),
    ] {
        let vm = machine(Profile::None);
        vm.kvm_ioeventfd(&first).unwrap();
        let result = vm.kvm_ioeventfd(&second);
        if collide {
            expect_errno(result, libc::EEXIST);
        } else {
            result.unwrap();
        }
    }
}

#[test]
fn a_doorbell_is_taken_off_by_its_whole_key() {
    let vm = pc();
    let (one, other) = (eventfd(), eventfd());
    let bound = matching(&one, AT, 4, 7);
    vm.kvm_ioeventfd(&bound).unwrap();
    let off = |args: IoEventFd| vm.kvm_ioeventfd(&with_flags(args, args.flags | DEASSIGN_DOORBELL));
    for wrong in [
        matching(&other, AT, 4, 7),
        matching(&one, AT + 1, 4, 7),
        matching(&one, AT, 2, 7),
        matching(&one, AT, 3, 7),
        matching(&one, AT, 4, 8),
        doorbell(&one, AT, 4),
        with_flags(bound, DATAMATCH | PIO),
    ] {
        expect_errno(off(wrong), libc::ENOENT);
    }
    let duplicate = one.try_clone().unwrap();
    off(with_flags(matching(&duplicate, AT, 4, 7), DATAMATCH | 0x20)).unwrap();
    expect_errno(off(bound), libc::ENOENT);
    expect_errno(off(IoEventFd { fd: -1, ..bound }), libc::EBADF);

    vm.kvm_ioeventfd(&doorbell(&one, AT, 4)).unwrap();
    off(IoEventFd {
        datamatch: 99,
        ..doorbell(&one, AT, 4)
    })
    .unwrap();
}

#[test]
fn closing_an_eventfd_does_not_take_its_doorbell_off() {
    let vm = pc();
    let one = eventfd();
    vm.kvm_ioeventfd(&doorbell(&one, AT, 4)).unwrap();
    drop(one);
    let same_number = eventfd();
    let args = doorbell(&same_number, AT, 4);
    expect_errno(
        vm.kvm_ioeventfd(&with_flags(args, DEASSIGN_DOORBELL)),
        libc::ENOENT,
    );
    expect_errno(vm.kvm_ioeventfd(&args), libc::EEXIST);
}

#[test]
fn a_bus_of_a_thousand_other_devices_takes_no_doorbell() {
    let vm = pc();
    for n in 0..999 {
        vm.add_coalesced(Bus::Mmio, AT + n * 64, 8).unwrap();
    }
    expect_errno(vm.add_coalesced(Bus::Mmio, 0, 8), libc::ENOSPC);
    let one = eventfd();
    expect_errno(vm.kvm_ioeventfd(&doorbell(&one, 0, 4)), libc::ENOSPC);
    vm.kvm_ioeventfd(&with_flags(doorbell(&one, 0, 4), PIO))
        .unwrap();
}

#[test]
fn doorbells_do_not_count_as_devices() {
    let vm = pc();
    let one = eventfd();
    for n in 0..2000 {
        vm.kvm_ioeventfd(&doorbell(&one, AT + n * 4, 4)).unwrap();
    }
    vm.add_coalesced(Bus::Mmio, 0, 8).unwrap();
}

#[test]
fn a_full_counter_neither_blocks_nor_overflows() {
    let vm = pc();
    let one = EventFd::new(0).unwrap();
    one.write(u64::MAX - 1).unwrap();
    let one = EventNotifier::from(one);
    vm.kvm_ioeventfd(&doorbell(&one, AT, 4)).unwrap();
    // A peer that shares the eventfd can make it blocking.
    let duplicate = one.try_clone().unwrap();
    let flags = nix::fcntl::OFlag::empty();
    nix::fcntl::fcntl(&duplicate, nix::fcntl::FcntlArg::F_SETFL(flags)).unwrap();
    assert_eq!(vm.guest_write(Bus::Mmio, AT, &[0; 4]).signalled, 1);
    expect_count(&one, u64::MAX - 1);
}

#[test]
fn a_machine_without_irqchip_has_doorbells() {
    let vm: SimVm = machine(Profile::None);
    let one = eventfd();
    vm.kvm_ioeventfd(&doorbell(&one, 0xfec0_0000, 4)).unwrap();
    assert_eq!(vm.guest_write(Bus::Mmio, 0xfec0_0000, &[0; 4]).signalled, 1);
    assert_eq!(
        vm.guest_write(Bus::Mmio, 0xfee0_00b0, &[0; 4]).exits.len(),
        1
    );
}

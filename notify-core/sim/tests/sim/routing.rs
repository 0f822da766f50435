// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! KVM_SET_GSI_ROUTING.

use notify_sim::raw::{IrqLevel, Routing, RoutingEntry};
use notify_sim::{Profile, SimVm};

use crate::common::*;

fn status(vm: &SimVm, irq: u32) -> i32 {
    vm.kvm_irq_line_status(&IrqLevel { irq, level: 1 }).unwrap()
}

#[test]
fn a_machine_without_irqchip_takes_no_table() {
    let vm = machine(Profile::None);
    expect_errno(route(&vm, &[]), libc::EINVAL);
    let short = Routing {
        nr: 5,
        ..Routing::default()
    };
    expect_errno(vm.kvm_set_gsi_routing(&short), libc::EINVAL);
}

#[test]
fn the_count_and_the_flags_come_before_the_entries() {
    let vm = pc();
    let all: Vec<_> = (0..4097).map(|n| msi(n % 4096, 0x41)).collect();
    expect_errno(route(&vm, &all), libc::EINVAL);
    route(&vm, &all[..4096]).unwrap();
    for (nr, flags, errno) in [
        (u32::MAX, 0, libc::EINVAL),
        (5, 1, libc::EINVAL),
        (5, 0, libc::EFAULT),
    ] {
        let args = Routing {
            nr,
            flags,
            entries: &[],
        };
        expect_errno(vm.kvm_set_gsi_routing(&args), errno);
    }
    route(&vm, &[]).unwrap();
}

#[test]
fn gsis_end_at_4096() {
    let vm = pc();
    route(&vm, &[msi(4095, 0x41)]).unwrap();
    for gsi in [4096, u32::MAX] {
        expect_errno(route(&vm, &[msi(gsi, 0x41)]), libc::EINVAL);
    }
}

#[test]
fn only_pins_and_messages_are_known() {
    let vm = pc();
    for kind in [0, 3, 4, 5, 6, u32::MAX] {
        let entry = RoutingEntry {
            kind,
            ..msi(24, 0x41)
        };
        expect_errno(route(&vm, &[entry]), libc::EINVAL);
    }
    let flags = |entry: RoutingEntry, flags| route(&vm, &[RoutingEntry { flags, ..entry }]);
    flags(msi(24, 0x41), 1).unwrap();
    expect_errno(flags(msi(24, 0x41), 2), libc::EINVAL);
    expect_errno(flags(pin(24, PIC, 0), 1), libc::EINVAL);
}

#[test]
fn a_gsi_has_one_message_or_a_pin_of_each_chip() {
    let vm = pc();
    for (entries, allowed) in [
        (&[msi(24, 1), msi(24, 2)][..], false),
        (&[msi(24, 1), msi(24, 1)], false),
        (&[msi(24, 1), pin(24, PIC, 1)], false),
        (&[pin(24, PIC, 1), msi(24, 1)], false),
        (&[pin(24, IOAPIC, 1), pin(24, IOAPIC, 2)], false),
        (&[pin(24, PIC, 1), pin(24, IOAPIC, 2)], true),
        (
            &[pin(24, PIC, 1), pin(24, SLAVE, 1), pin(24, IOAPIC, 2)],
            true,
        ),
        (&[pin(24, PIC, 1), pin(25, PIC, 1)], true),
    ] {
        assert_eq!(route(&vm, entries).is_ok(), allowed, "{entries:?}");
    }
}

#[test]
fn chips_have_their_pins() {
    let vm = pc();
    for (chip, number, allowed) in [
        (PIC, 7, true),
        (PIC, 8, false),
        (SLAVE, 7, true),
        (SLAVE, 8, false),
        (IOAPIC, 23, true),
        (IOAPIC, 24, false),
        (3, 0, false),
        (u32::MAX, 0, false),
        (PIC, u32::MAX, false),
        (IOAPIC, u32::MAX, false),
    ] {
        assert_eq!(route(&vm, &[pin(24, chip, number)]).is_ok(), allowed);
    }
    let split = machine(Profile::X86Split { pins: 24 });
    expect_errno(route(&split, &[pin(5, IOAPIC, 5)]), libc::EINVAL);
    route(&split, &[msi(5, 0x41)]).unwrap();
}

#[test]
fn wide_ids_make_the_high_half_of_an_address_count() {
    let vm = pc();
    let high = |high| RoutingEntry {
        u: [0xfee0_0000, high, 0x41, 0, 0, 0, 0, 0],
        ..msi(24, 0)
    };
    route(&vm, &[high(1)]).unwrap();
    vm.enable_x2apic_ids();
    for (value, allowed) in [(0, true), (1, false), (0xff, false), (0x100, true)] {
        assert_eq!(route(&vm, &[high(value)]).is_ok(), allowed);
    }
}

#[test]
fn a_refused_table_changes_nothing() {
    let vm = pc();
    assert_eq!(status(&vm, 7), 1);
    let mut entries = vec![pin(100, PIC, 1); 1];
    entries.push(pin(101, PIC, 8));
    expect_errno(route(&vm, &entries), libc::EINVAL);
    assert_eq!(status(&vm, 6), 1);
    assert_eq!(status(&vm, 100), -1);
}

#[test]
fn a_new_table_replaces_the_default() {
    let vm = pc();
    let results: Vec<_> = (0..26).map(|gsi| status(&vm, gsi)).collect();
    assert_eq!(results[..16], [1; 16]);
    assert_eq!(results[16..], [-1; 10]);
    let [master, slave] = vm.pic().unwrap();
    assert_eq!((master.irr, slave.irr), (0xff, 0xff));
    assert_eq!(vm.ioapic().unwrap().irr, 0xff_ffff);
    route(&vm, &[pin(100, PIC, 1)]).unwrap();
    assert_eq!(status(&vm, 7), -1);
    assert_eq!(status(&machine(Profile::X86Split { pins: 24 }), 7), -1);
}

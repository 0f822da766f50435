// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which writes of a guest ring which doorbells.

use notify_core::{Bus, EventNotifier};
use notify_sim::{Profile, SimVm};

use crate::common::*;

const AT: u64 = 0xd000_0100;

fn ring(vm: &SimVm, address: u64, bytes: &[u8]) -> (u32, Vec<(u64, Vec<u8>)>) {
    let written = vm.guest_write(Bus::Mmio, address, bytes);
    let exits = written.exits.iter();
    let exits = exits.map(|exit| (exit.address, exit.bytes().to_vec()));
    (written.signalled, exits.collect())
}

fn bound(addresses_and_widths: &[(u64, u32)]) -> (SimVm, Vec<EventNotifier>) {
    let vm = machine(Profile::None);
    let bind = |(address, len): &(u64, u32)| {
        let one = eventfd();
        vm.kvm_ioeventfd(&doorbell(&one, *address, *len)).unwrap();
        one
    };
    let all = addresses_and_widths.iter().map(bind).collect();
    (vm, all)
}

#[test]
fn address_and_width_must_be_exact() {
    let (vm, one) = bound(&[(AT, 4)]);
    for (address, bytes) in [
        (AT, &[1][..]),
        (AT, &[1, 0]),
        (AT, &[0; 8]),
        (AT + 2, &[3, 0, 0, 0]),
        (AT - 2, &[3, 0, 0, 0]),
    ] {
        assert_eq!(
            ring(&vm, address, bytes),
            (0, vec![(address, bytes.to_vec())])
        );
    }
    assert_eq!(ring(&vm, AT, &[7, 0, 0, 0]), (1, vec![]));
    expect_count(&one[0], 1);
}

#[test]
fn any_width_means_any() {
    let (vm, one) = bound(&[(AT, 0)]);
    for bytes in [&[0; 1][..], &[0; 2], &[0; 4], &[0; 8]] {
        assert_eq!(ring(&vm, AT, bytes), (1, vec![]));
    }
    assert_eq!(ring(&vm, AT - 2, &[0; 4]).0, 0);
    expect_count(&one[0], 4);
}

#[test]
fn a_value_is_compared_in_the_width_of_the_write() {
    let vm = machine(Profile::None);
    let (five, six, wide) = (eventfd(), eventfd(), eventfd());
    for (one, value) in [(&five, 5), (&six, 6), (&wide, 0x1_0007)] {
        vm.kvm_ioeventfd(&matching(one, AT, 2, value)).unwrap();
    }
    for value in [5u16, 6, 6, 7] {
        vm.guest_write(Bus::Mmio, AT, &value.to_ne_bytes());
    }
    assert_eq!(ring(&vm, AT, &5u32.to_ne_bytes()).0, 0);
    expect_count(&five, 1);
    expect_count(&six, 2);
    expect_count(&wide, 0);
}

#[test]
fn sixteen_bytes_are_two_look_ups() {
    let wide: Vec<u8> = (0..16).collect();
    let halves = |at| vec![(at, wide[..8].to_vec()), (at + 8, wide[8..].to_vec())];
    let (vm, _kept) = bound(&[(AT, 8)]);
    assert_eq!(ring(&vm, AT, &wide), (1, halves(AT)[1..].to_vec()));
    assert_eq!(ring(&vm, AT - 8, &wide), (0, halves(AT - 8)));
}

#[test]
fn a_store_across_a_page_is_split() {
    let (vm, _kept) = bound(&[(0xd000_2000, 2), (0xd000_2ffe, 2)]);
    assert_eq!(
        ring(&vm, 0xd000_1ffe, &[1, 2, 3, 4]),
        (1, vec![(0xd000_1ffe, vec![1, 2])])
    );
    assert_eq!(
        ring(&vm, 0xd000_2ffe, &[1, 2, 3, 4]),
        (1, vec![(0xd000_3000, vec![3, 4])])
    );
}

/// As observed on Linux 6.18: whether four bytes are found depends on how many others there are.
#[test]
fn overlapping_ranges_shadow_one_another() {
    let hit = |below: u64, above: u64| {
        let below = (0..below).map(|n| (0xc000_0000 + n * 0x10, 4));
        let above = (0..above).map(|n| (0xd100_0000 + n * 0x10, 4));
        let overlapping = [(AT, 8), (AT + 4, 4), (AT + 2, 1)];
        let vm = pc();
        let one = eventfd();
        for (address, len) in overlapping.into_iter().chain(below).chain(above) {
            vm.kvm_ioeventfd(&doorbell(&one, address, len)).unwrap();
        }
        ring(&vm, AT + 4, &[1, 0, 0, 0]).0
    };
    let below: Vec<_> = (1..=12).map(|count| hit(count, 0)).collect();
    assert_eq!(below, [1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0]);
    let above: Vec<_> = (1..=12).map(|count| hit(12, count)).collect();
    assert_eq!(above, [1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1]);
}

#[test]
fn doorbells_steal_from_devices_in_the_kernel() {
    let vm = pc();
    let (command, mask, select, window, eoi) =
        (eventfd(), eventfd(), eventfd(), eventfd(), eventfd());
    for (one, port) in [(&command, 0x20), (&mask, 0x21)] {
        let mut args = doorbell(one, port, 1);
        args.flags = PIO;
        vm.kvm_ioeventfd(&args).unwrap();
    }
    for (one, address) in [
        (&select, 0xfec0_0000),
        (&window, 0xfec0_0010),
        (&eoi, 0xfee0_00b0),
    ] {
        vm.kvm_ioeventfd(&doorbell(one, address, 4)).unwrap();
    }
    vm.guest_write(Bus::Pio, 0x20, &[0x20]);
    vm.guest_write(Bus::Pio, 0x21, &[0xff]);
    for address in [0xfec0_0000, 0xfec0_0010, 0xfee0_00b0] {
        vm.guest_write(Bus::Mmio, address, &[0; 4]);
    }
    for (one, count) in [
        (&command, 1),
        (&mask, 0),
        (&select, 1),
        (&window, 0),
        (&eoi, 0),
    ] {
        expect_count(one, count);
    }
    assert_eq!(vm.pic().unwrap()[0].imr, 0xff);
}

#[test]
fn memory_hides_doorbells_and_rom_does_not() {
    let (vm, _kept) = bound(&[(0x4000, 4), (0xc000_0010, 4)]);
    vm.add_ram(0..0x1_0000);
    vm.add_rom(0xc000_0000..0xc000_1000);
    let written = vm.guest_write(Bus::Mmio, 0x4000, &[0; 4]);
    assert_eq!((written.signalled, written.memory), (0, 1));
    assert_eq!(ring(&vm, 0xc000_0010, &[0; 4]), (1, vec![]));
    assert_eq!(ring(&vm, 0xc000_0020, &[0; 4]).1.len(), 1);
}

#[test]
fn a_coalesced_zone_may_swallow_a_doorbell() {
    let vm = machine(Profile::None);
    vm.add_coalesced(Bus::Mmio, 0xd000_0000, 0x1000).unwrap();
    let (first, inside) = (eventfd(), eventfd());
    vm.kvm_ioeventfd(&doorbell(&first, 0xd000_0000, 4)).unwrap();
    vm.kvm_ioeventfd(&doorbell(&inside, 0xd000_0010, 4))
        .unwrap();
    let signalled = [0xd000_0000, 0xd000_0010].map(|at| ring(&vm, at, &[0; 4]).0);
    assert_eq!(signalled, [1, 0]);
}

#[test]
fn ports_end_at_sixteen_bits() {
    let vm = pc();
    let one = eventfd();
    let mut args = doorbell(&one, 0x1_0000, 1);
    args.flags = PIO;
    vm.kvm_ioeventfd(&args).unwrap();
    assert_eq!(vm.guest_write(Bus::Pio, 0x1_0000, &[0]).signalled, 0);
}

#[test]
fn devices_take_their_own_registers() {
    let vm = pc();
    for (bus, address, bytes) in [
        (Bus::Pio, 0x4d1, &[0xff][..]),
        (Bus::Pio, 0x20, &[0, 0]),
        (Bus::Mmio, 0xfec0_00f0, &[0; 4]),
        (Bus::Mmio, 0xfee0_0020, &[0; 1]),
    ] {
        assert_eq!(vm.guest_write(bus, address, bytes).devices, 1);
    }
    assert_eq!(vm.pic().unwrap()[1].elcr, 0xde);
    assert_eq!(vm.guest_write(Bus::Pio, 0x21, &[0, 0]).exits.len(), 1);
    assert_eq!(
        vm.guest_write(Bus::Mmio, 0xfec0_0100, &[0; 4]).exits.len(),
        1
    );
}

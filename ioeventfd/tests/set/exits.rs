// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Writes that exited.

use ioeventfd::{AfterExit, Datamatch, Doorbell, IoAddress, Width};

use crate::common::*;

fn at(address: u64) -> IoAddress {
    IoAddress::Mmio(address)
}

#[test]
fn address_width_and_value_decide() {
    let rig = rig();
    let all = notifiers(4);
    have(
        &rig.set,
        [
            mmio(10, BASE, Datamatch::U16(0x0102), &all[0]),
            mmio(11, BASE, W4, &all[1]),
            mmio(12, BASE + 8, Datamatch::AnyWrite, &all[2]),
            Doorbell::new(
                13,
                IoAddress::Pio(0xc010),
                Datamatch::U16(3),
                all[3].clone(),
            ),
        ],
    );
    let value = 0x0102u16.to_ne_bytes();
    for (address, bytes, key) in [
        (at(BASE), &value[..], Some(10)),
        (at(BASE), &[0, 0], None),
        (at(BASE), &[9, 9, 9, 9], Some(11)),
        (at(BASE), &[9], None),
        (at(BASE), &[9; 8], None),
        (at(BASE), &[], None),
        (at(BASE), &[9; 3], None),
        (at(BASE + 1), &value, None),
        (at(BASE - 1), &value, None),
        (at(BASE + 8), &[1], Some(12)),
        (at(BASE + 8), &[1; 3], Some(12)),
        (at(BASE + 8), &[1; 8], Some(12)),
        (at(BASE + 8), &[], None),
        (at(0), &value, None),
        (at(u64::MAX), &value, None),
        (IoAddress::Pio(0xc010), &3u16.to_ne_bytes(), Some(13)),
        (IoAddress::Pio(0xc010), &4u16.to_ne_bytes(), None),
        (at(0xc010), &3u16.to_ne_bytes(), None),
        (IoAddress::Pio(0xffff), &value, None),
    ] {
        assert_eq!(
            rig.set.key_of_write(address, bytes),
            key,
            "{address} {bytes:?}"
        );
        let rung = rig.set.on_exit_write(address, bytes).unwrap();
        let expected = if key.is_some() {
            AfterExit::Resume
        } else {
            AfterExit::Emulate
        };
        assert_eq!(rung, expected, "{address} {bytes:?}");
    }
    expect_kicks(&all, &[1, 1, 3, 1]);
}

#[test]
fn what_is_there_counts_before_what_was_there() {
    let rig = rig();
    let all = notifiers(2);
    let value = mmio(0, BASE, Datamatch::U16(1), &all[0]);
    let wild = mmio(1, BASE, W2, &all[1]);
    let find = |value: u16| rig.set.key_of_write(at(BASE), &value.to_ne_bytes());
    have(&rig.set, [value.clone()]);
    have(&rig.set, [wild]);
    assert_eq!((find(1), find(2)), (Some(1), Some(1)));
    have(&rig.set, [value]);
    assert_eq!((find(1), find(2)), (Some(0), Some(1)));
}

#[test]
fn a_store_is_cut_as_kvm_cuts_it() {
    let rig = rig();
    let all = notifiers(5);
    let w8 = Datamatch::Width(Width::W8);
    have(
        &rig.set,
        [
            mmio(0, BASE, w8, &all[0]),
            mmio(1, BASE + 0x10, w8, &all[1]),
            mmio(2, BASE + 0x18, w8, &all[2]),
            mmio(3, BASE + 0xffe, W2, &all[3]),
            mmio(4, BASE + 0x1000, W2, &all[4]),
        ],
    );
    let rung = |address, len| rig.set.on_exit_write(at(address), &vec![0; len]).unwrap();
    assert_eq!(rung(BASE, 16), AfterExit::EmulateRest);
    assert_eq!(rung(BASE + 0x10, 16), AfterExit::Resume);
    assert_eq!(
        rung(BASE + 8, 16),
        AfterExit::EmulateRest,
        "the second half is another write"
    );
    assert_eq!(rung(BASE + 0x20, 16), AfterExit::Emulate);
    assert_eq!(rung(BASE + 0xffe, 4), AfterExit::Resume);
    assert_eq!(rung(BASE + 0xffc, 4), AfterExit::Emulate);
    assert_eq!(rung(BASE + 0xffe, 2), AfterExit::Resume);
    assert_eq!(rung(BASE + 0xffe, 12), AfterExit::EmulateRest);
    assert_eq!(
        rig.set.key_of_write(at(BASE + 0x10), &[0; 16]),
        None,
        "not one piece"
    );
    expect_kicks(&all, &[1, 2, 1, 3, 1]);
}

#[test]
fn whatever_a_guest_makes_up_is_no_panic() {
    let rig = rig();
    let one = notifier();
    have(
        &rig.set,
        [
            mmio(0, (1 << 52) - 1, Datamatch::AnyWrite, &one),
            mmio(1, 0, W2, &one),
        ],
    );
    for address in [
        0,
        1,
        0xfff,
        0x1000,
        (1 << 52) - 1,
        u64::MAX - 0x1001,
        u64::MAX - 7,
        u64::MAX,
    ] {
        for len in [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 64, 0x1000, 0x2001] {
            let bytes = vec![0xa5; len];
            let _ = rig.set.on_exit_write(at(address), &bytes).unwrap();
            let _ = rig.set.key_of_write(at(address), &bytes);
            let port = IoAddress::Pio(address as u16);
            assert_eq!(
                rig.set.on_exit_write(port, &bytes).unwrap(),
                AfterExit::Emulate
            );
        }
    }
    // No port write is longer than KVM looks up at a time.
    let port = IoAddress::Pio(0x510);
    have(
        &rig.set,
        [Doorbell::new(0, port, Datamatch::AnyWrite, one.clone())],
    );
    assert_eq!(
        rig.set.on_exit_write(port, &[0; 8]).unwrap(),
        AfterExit::Resume
    );
    assert_eq!(
        rig.set.on_exit_write(port, &[0; 9]).unwrap(),
        AfterExit::Emulate
    );
}

#[test]
fn elements_of_a_string_go_one_by_one() {
    let rig = rig();
    let all = notifiers(3);
    let bell = |(queue, one): (u16, &std::sync::Arc<_>)| {
        let address = IoAddress::Pio(0xc010);
        Doorbell::new(
            queue.into(),
            address,
            Datamatch::U16(queue),
            std::sync::Arc::clone(one),
        )
    };
    have(&rig.set, (0..).zip(&all).map(bell));
    let exit: Vec<u8> = [2u16, 0, 2]
        .iter()
        .flat_map(|queue| queue.to_ne_bytes())
        .collect();
    for element in exit.chunks(2) {
        let rung = rig
            .set
            .on_exit_write(IoAddress::Pio(0xc010), element)
            .unwrap();
        assert_eq!(rung, AfterExit::Resume);
    }
    expect_kicks(&all, &[1, 0, 2]);
}

#[test]
fn a_thousand_values_at_one_address_are_told_apart() {
    let rig = rig();
    let one = notifier();
    let bell = |queue: u16| mmio(queue.into(), BASE, Datamatch::U16(queue), &one);
    have(&rig.set, (0..1000).map(bell));
    for queue in [0u16, 1, 499, 500, 998, 999] {
        assert_eq!(
            rig.set.key_of_write(at(BASE), &queue.to_ne_bytes()),
            Some(queue.into())
        );
    }
    assert_eq!(rig.set.key_of_write(at(BASE), &1000u16.to_ne_bytes()), None);
    assert_eq!(rig.set.key_of_write(at(BASE), &[1]), None);
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What can be read and written.

use std::sync::Arc;

use irq_routing::RoutingTable;
use irqfd::VectorError;
use irqfd::msi::Capability;
use kvm_test::Recorder;

use super::{Bench, LAPIC, SHAPES, driven, read16, read32, vector, write32};

#[test]
fn there_are_eight_forms() {
    let expected = [
        (10, 0x000a),
        (12, 0x020a),
        (20, 0x010a),
        (20, 0x030a),
        (14, 0x008a),
        (16, 0x028a),
        (24, 0x018a),
        (24, 0x038a),
    ];
    for (shape, (len, control)) in SHAPES.into_iter().zip(expected) {
        let (wide, maskable, extended) = shape;
        let bench = Bench::new();
        let msi = bench.shaped(shape).vectors(32).next(0x70).build().unwrap();
        assert_eq!(msi.len(), len);
        assert_eq!(read16(&msi, 0), 0x7005);
        assert_eq!(read16(&msi, 2), control);
        // Everything is written; what is writable reads back.
        for offset in (4..32).step_by(4) {
            write32(&msi, offset, 0xffff_ffff);
        }
        let data = if wide { 12 } else { 8 };
        let mask = |value| if maskable { value } else { 0 };
        assert_eq!(read32(&msi, 4), 0xffff_fffc);
        if wide {
            assert_eq!(read32(&msi, 8), 0xffff_ffff);
        }
        let all = if extended { 0xffff_ffff } else { 0xffff };
        assert_eq!(read32(&msi, data), all);
        assert_eq!(read32(&msi, data + 4), mask(0xffff_ffff));
        assert_eq!(read32(&msi, data + 8), 0, "pending bits are read-only");
        assert_eq!(read32(&msi, data + 12), 0);
        // Extended Message Data Enable is read-only where there is none.
        let _ = msi.write(2, &0xffff_u16.to_le_bytes());
        let enable = if extended { 0x0400 } else { 0 };
        assert_eq!(read16(&msi, 2), control | 0x0051 | enable);
        let _ = msi.write(2, &[0, 0]);
        assert_eq!(read16(&msi, 2), control);
        assert_eq!(read32(&msi, data), all, "it stays while it is disabled");
    }
}

#[test]
fn any_bytes_may_be_accessed() {
    let bench = Bench::new();
    let msi = bench.builder().vectors(8).build().unwrap();
    let _ = msi.write(5, &[0x11]);
    let _ = msi.write(7, &[0x22, 0x33, 0x44]);
    let _ = msi.write(11, &[0x55, 0x66, 0x77, 0x88]);
    let mut bytes = [0xee; 12];
    msi.read(4, &mut bytes);
    assert_eq!(
        bytes,
        [0, 0x11, 0, 0x22, 0x33, 0x44, 0, 0x55, 0x66, 0x77, 0, 0]
    );
    for offset in [24, 25, 1 << 40, u64::MAX - 1, u64::MAX] {
        let _ = msi.write(offset, &[0xff; 8]);
        let mut bytes = [0xee; 8];
        msi.read(offset, &mut bytes);
        assert_eq!(bytes, [0; 8]);
    }
    // All of it at once, and more.
    let _ = msi.write(0, &[0xff; 64]);
    let mut bytes = [0xee; 26];
    msi.read(0, &mut bytes);
    assert_eq!(
        bytes[..4],
        [0x05, 0, 0xb7, 0x01],
        "eight vectors granted, and enabled"
    );
    assert_eq!(bytes[16..], [0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    msi.read(0, &mut []);
}

/// Wherever it is, inside the data register too.
#[test]
fn a_write_of_no_bytes_is_none() {
    let bench = Bench::new();
    let msi = driven(&bench, 4, 2, 0x40);
    write32(&msi, 4, 0xfee0_1000);
    for offset in (0..=24).chain([u64::MAX]) {
        let _ = msi.write(offset, &[]);
        let message = vector(&msi, 0).message();
        assert_eq!(message.address, LAPIC, "an address alone does not count");
    }
    let _ = msi.write(13, &[0]);
    assert_eq!(vector(&msi, 0).message().address, 0xfee0_1000);
}

#[test]
fn no_more_is_granted_than_there_is() {
    let bench = Bench::new();
    let msi = bench.builder().vectors(4).build().unwrap();
    for (asked, granted) in [(0_u8, 0_u8), (1, 1), (2, 2), (3, 2), (5, 2), (6, 2), (7, 2)] {
        let _ = msi.write(2, &[asked << 4]);
        assert_eq!(read16(&msi, 2), 0x0184 | u16::from(granted) << 4);
        assert_eq!(msi.granted(), 1 << granted);
        assert!(!msi.is_enabled());
    }
    let _ = msi.write(2, &[1]);
    assert!(msi.is_enabled());
}

#[test]
fn vectors_are_a_power_of_two_to_32() {
    let bench = Bench::new();
    for vectors in [0, 3, 5, 31, 33, 64, 1 << 40, usize::MAX] {
        let error = bench.builder().vectors(vectors).build().unwrap_err();
        assert!(
            matches!(error, VectorError::CapabilitySize { vectors: found, .. } if found == vectors)
        );
    }
    for (log, vectors) in [1, 2, 4, 8, 16, 32].into_iter().enumerate() {
        let msi = bench.builder().vectors(vectors).build().unwrap();
        assert_eq!(msi.vectors().len(), vectors);
        assert_eq!(read16(&msi, 2) >> 1 & 7, log as u16);
        assert!(msi.vector(vectors as u16).is_none());
        write32(&msi, 16, u32::MAX);
        assert_eq!(read32(&msi, 16).count_ones() as usize, vectors);
    }
}

#[test]
fn no_access_to_internal_vectors_allocates() {
    let routing = RoutingTable::new(Arc::new(Recorder::default())).unwrap();
    let msi = Capability::builder(&routing).vectors(32).build().unwrap();
    let play = || {
        let mut bytes = [0xff; 64];
        for offset in [0, 1, 2, 12, 16, 20, 24, u64::MAX] {
            let _ = msi.write(offset, &bytes);
            msi.vectors()[3].trigger().unwrap();
            msi.read(offset, &mut bytes);
        }
        let _ = msi.write(2, &[1]);
        msi.reset();
    };
    let counted = allocation_counter::measure(|| (0..100).for_each(|_| play()));
    assert_eq!(counted.count_total, 0);

    let witness = allocation_counter::measure(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(witness.count_total, 1, "the counter counts");
}

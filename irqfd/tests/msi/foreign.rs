// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Capabilities that another virtual machine monitor has saved, as bytes and pending bits.

use irqfd::RestoreError;
use irqfd::msi::{Capability, Registers, Snapshot};
use proptest::prelude::*;
use serde_json::json;

use super::{Bench, LAPIC, SHAPES, driven, expect_kept, read32, save, vector, write32};

/// Enabled, with two of four vectors granted, of which vector 1 is pending.
fn saved(bench: &Bench, shape: (bool, bool, bool)) -> (Capability, Registers) {
    let data = if shape.0 { 12 } else { 8 };
    let msi = bench.shaped(shape).vectors(4).next(0x70).build().unwrap();
    write32(&msi, 4, LAPIC as u32);
    write32(&msi, data, 0x9_0040);
    if shape.1 {
        write32(&msi, data + 4, 0b1010);
        let _ = msi.write(2, &0x411_u16.to_le_bytes());
        expect_kept(&msi, 1);
    } else {
        // Without mask bits a vector is pending while MSI is disabled.
        let _ = msi.write(2, &0x410_u16.to_le_bytes());
        expect_kept(&msi, 1);
    }
    let registers = save(&msi).registers().unwrap();
    (msi, registers)
}

fn refused(registers: &Registers) -> RestoreError {
    Snapshot::try_from(registers).unwrap_err()
}

#[test]
fn every_form_goes_there_and_back() {
    for shape in SHAPES {
        let bench = Bench::new();
        let (msi, registers) = saved(&bench, shape);
        let mut bytes = vec![0; msi.len()];
        msi.read(0, &mut bytes);
        bytes[1] = 0;
        assert_eq!(registers.capability, bytes, "the next pointer is not kept");
        assert_eq!(registers.pending, 0b10);
        let snapshot = Snapshot::try_from(&registers).unwrap();
        assert_eq!(snapshot, save(&msi));
        assert_eq!(snapshot.registers().unwrap(), registers);

        let restored = bench.shaped(shape).vectors(4).build().unwrap();
        restored.restore(&snapshot).unwrap();
        assert_eq!(save(&restored), snapshot);
    }
}

#[test]
fn a_form_that_was_written_by_hand_is_read() {
    let bench = Bench::new();
    let mut capability = vec![0x05, 0x50, 0x83, 0x07, 0x00, 0x00, 0xe0, 0xfe, 0, 0, 0, 0];
    capability.extend([0x41, 0x00, 0x02, 0x00]);
    capability.extend([0x02, 0, 0, 0, 0, 0, 0, 0]);
    let mut registers = Registers {
        capability,
        pending: 0b10,
    };
    let msi = bench.shaped((true, true, true)).vectors(2).build().unwrap();
    let snapshot = Snapshot::try_from(&registers).unwrap();
    msi.restore(&snapshot).unwrap();
    assert_eq!(vector(&msi, 0).message().data, 0x2_0041);
    assert_eq!(read32(&msi, 20), 0, "vector 1 is not granted");
    // Vector 1 is granted, and shown.
    registers.capability[2] = 0x93;
    msi.restore(&Snapshot::try_from(&registers).unwrap())
        .unwrap();
    assert_eq!(read32(&msi, 20), 0b10);
    write32(&msi, 16, 0);
    bench.expect(&[0x41]);
}

/// The pending bits count, the register does not.
#[test]
fn pending_bits_have_one_source() {
    let bench = Bench::new();
    let (_, registers) = saved(&bench, (true, true, false));
    assert_eq!(registers.capability[20..], [0b10, 0, 0, 0]);
    let mut other = registers.clone();
    other.capability[20..].fill(0xff);
    let snapshot = Snapshot::try_from(&other).unwrap();
    assert_eq!(snapshot.registers().unwrap(), registers);
    other.pending = 0;
    let snapshot = Snapshot::try_from(&other).unwrap();
    assert_eq!(snapshot.registers().unwrap().capability[20..], [0; 4]);
}

/// An address that is written later takes effect at once.
#[test]
fn half_a_message_is_whole_afterwards() {
    let bench = Bench::new();
    let msi = driven(&bench, 1, 0, 0x40);
    write32(&msi, 4, 0xfee0_1000);
    assert_eq!(vector(&msi, 0).message().address, LAPIC);
    let registers = save(&msi).registers().unwrap();
    msi.restore(&Snapshot::try_from(&registers).unwrap())
        .unwrap();
    assert_eq!(vector(&msi, 0).message().address, 0xfee0_1000);
}

#[test]
fn hostile_registers_are_refused() {
    for shape in SHAPES {
        let (_, registers) = saved(&Bench::new(), shape);
        let len = registers.capability.len();
        for wrong in (0..len).chain([len + 1, len + 2, 4096]) {
            let mut registers = registers.clone();
            registers.capability.resize(wrong, 0);
            let wanted = if wrong < 4 { 10 } else { len };
            assert!(matches!(
                refused(&registers),
                RestoreError::Length { found, wanted: least, .. }
                    if (found, least) == (wrong, wanted)
            ));
        }
        let data = if shape.0 { 12 } else { 8 };
        let mut hostile = vec![
            (2, 0x0c_u8), // 64 vectors
            (2, 0x0e),    // 128 vectors
            (2, 0x30),    // eight of four granted
            (3, 0x08),    // reserved
            (3, 0x80),    // reserved
            (4, 0x01),    // an address that is not aligned
        ];
        if shape.1 {
            hostile.push((data + 4, 0x10)); // the mask bit of vector 4
            hostile.push((data + 7, 0x80));
        }
        if !shape.2 {
            hostile.push((3, 0x04)); // enabled, without the capability
            if shape.1 {
                hostile.extend([(data + 2, 0x01), (data + 3, 0x80)]); // reserved
            }
        }
        for (at, bits) in hostile {
            let mut registers = registers.clone();
            registers.capability[at] |= bits;
            let byte = registers.capability[at];
            assert!(
                matches!(
                    refused(&registers),
                    RestoreError::Reserved { offset, found, .. } if (offset, found) == (at, byte)
                ),
                "{bits:#x} at {at:#x} of {shape:?}"
            );
        }
        for pending in [0x10, 1 << 31] {
            let registers = Registers {
                pending,
                ..registers.clone()
            };
            let error = refused(&registers);
            assert!(matches!(error, RestoreError::Bits { pending: found, .. } if found == pending));
        }
        let mut registers = registers;
        registers.capability[0] = 0x11;
        assert!(matches!(
            refused(&registers),
            RestoreError::Id { found: 0x11, .. }
        ));
    }
}

/// A snapshot that was only read is checked as well.
#[test]
fn a_hostile_snapshot_has_no_registers() {
    let good = serde_json::to_value(save(&driven(&Bench::new(), 4, 1, 0x40))).unwrap();
    for (field, value) in [
        ("vectors", json!(0)),
        ("vectors", json!(3)),
        ("vectors", json!(64)),
        ("vectors", json!(u32::MAX)),
        ("granted", json!(0)),
        ("granted", json!(8)),
        ("address", json!(1)),
        ("data", json!(0x1_0000)),
        ("extended_data_enabled", json!(true)),
        ("masked", json!(0x10)),
        ("pending", json!(0x10)),
    ] {
        let mut hostile = good.clone();
        hostile[field] = value;
        let snapshot: Snapshot = serde_json::from_value(hostile).unwrap();
        assert!(snapshot.registers().is_err(), "{field}");
    }
    let later: Snapshot = serde_json::from_str(r#"{"version":3}"#).unwrap();
    let error = later.registers().unwrap_err();
    assert!(matches!(error, RestoreError::Version { found: 3, .. }));
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let small = prop_oneof![3 => Just(0), 1 => any::<u8>()];
    let shaped =
        (0..2048_u16, prop::collection::vec(small, 30)).prop_map(|(control, mut bytes)| {
            bytes[0] = 5;
            bytes[2..4].copy_from_slice(&control.to_le_bytes());
            bytes[4] &= 0xfc;
            // The length that it should have.
            let data = if control & 0x80 != 0 { 12 } else { 8 };
            bytes.truncate(match (control & 0x100 != 0, control & 0x200 != 0) {
                (true, _) => data + 12,
                (false, true) => data + 4,
                (false, false) => data + 2,
            });
            bytes
        });
    prop_oneof![
        8 => shaped,
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    /// A snapshot that passes the check can be restored, and reads back the same.
    #[test]
    fn any_bytes_are_refused_or_kept(
        capability in bytes(),
        pending in prop_oneof![Just(0), 0..4_u32, any::<u32>()],
    ) {
        let registers = Registers { capability, pending };
        let Ok(snapshot) = Snapshot::try_from(&registers) else {
            return Ok(());
        };
        let control = u16::from_le_bytes([registers.capability[2], registers.capability[3]]);
        let has = |bit: u16| control & bit != 0;
        let bench = Bench::new();
        let builder = bench.shaped((has(0x80), has(0x100), has(0x200)));
        let msi = builder.vectors(1 << (control >> 1 & 7)).next(registers.capability[1]);
        let msi = msi.build().unwrap();
        let _ = msi.restore(&snapshot).unwrap();
        let mut read = vec![0; msi.len()];
        msi.read(0, &mut read);
        let mut expected = registers.capability.clone();
        if has(0x100) {
            // The pending bits, which differed from the register.
            let at = msi.len() - 4;
            expected.truncate(at);
            read.truncate(at);
        }
        prop_assert_eq!(read, expected);
        let again = snapshot.registers().unwrap();
        prop_assert_eq!(again.pending, pending);
        prop_assert_eq!(Snapshot::try_from(&again).unwrap(), snapshot);
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Capabilities that are written and read, and used only after a check.

use irqfd::RestoreError;
use irqfd::msi::Snapshot;
use serde_json::{Value, json};

use super::{Bench, LAPIC, driven, expect_kept, read16, read32, save, vector, write32};

/// Four vectors, of which one is masked and pending; the address was written and not the data.
fn written() -> Value {
    let bench = Bench::new();
    let msi = driven(&bench, 4, 2, 0x40);
    write32(&msi, 16, 0b0010);
    expect_kept(&msi, 1);
    write32(&msi, 4, 0xfee0_1000);
    serde_json::to_value(save(&msi)).unwrap()
}

fn read(value: Value) -> Snapshot {
    serde_json::from_value(value).unwrap()
}

#[test]
fn the_written_form_stays_as_it_is() {
    let expected = json!({
        "version": 2, "vectors": 4, "wide": true, "maskable": true, "extended_data": false,
        "enabled": true, "extended_data_enabled": false, "granted": 4,
        "address": 0xfee0_1000_u64, "data": 0x40,
        "masked": 2, "pending": 2, "sends": {"address": LAPIC, "data": 0x40},
    });
    assert_eq!(written(), expected);
}

#[test]
fn what_is_restored_is_what_was_written() {
    let bench = Bench::new();
    let msi = bench.builder().vectors(4).build().unwrap();
    let notifier = vector(&msi, 1).export().unwrap();
    let snapshot = read(written());
    msi.restore(&snapshot).unwrap();
    assert_eq!(save(&msi), snapshot);
    assert_eq!(read16(&msi, 2), 0x01a5);
    assert_eq!((read32(&msi, 4), read32(&msi, 20)), (0xfee0_1000, 2));
    assert!(!notifier.is_signalled().unwrap(), "the vector has kept it");
    vector(&msi, 3).trigger().unwrap();
    bench.expect(&[0x43]);
    write32(&msi, 4, LAPIC as u32);
    write32(&msi, 16, 0);
    bench.expect(&[0x41]);
}

#[test]
fn the_greatest_data_of_16_bits_are_restored() {
    let bench = Bench::new();
    let msi = bench.builder().vectors(4).build().unwrap();
    let mut value = written();
    (value["data"], value["sends"]["data"]) = (json!(0xffff), json!(0xffff));
    msi.restore(&read(value)).unwrap();
    assert_eq!(read16(&msi, 0xc), 0xffff);
}

/// Open vectors are closed, and earlier pending interrupts are replaced by the restored ones.
#[test]
fn what_it_was_before_is_forgotten() {
    let bench = Bench::new();
    let msi = driven(&bench, 4, 2, 0x60);
    write32(&msi, 16, 0b0100);
    expect_kept(&msi, 2);
    msi.restore(&read(written())).unwrap();
    bench.expect(&[]);
    assert_eq!(read32(&msi, 20), 0b0010);
    vector(&msi, 2).trigger().unwrap();
    bench.expect(&[0x42]);
}

/// A snapshot has no device ID: the restored device sends with its own.
#[test]
fn a_restored_device_has_its_own_identity() {
    let bench = Bench::new();
    let msi = bench.builder().vectors(4).devid(0x18).build().unwrap();
    msi.restore(&read(written())).unwrap();
    let message = vector(&msi, 3).message();
    assert_eq!((message.data, message.devid), (0x43, Some(0x18)));
}

#[track_caller]
fn refused(change: impl FnOnce(&mut Value)) -> RestoreError {
    let mut value = written();
    change(&mut value);
    let bench = Bench::new();
    let msi = driven(&bench, 4, 1, 0x60);
    write32(&msi, 16, 1);
    expect_kept(&msi, 0);
    let before = save(&msi);
    let error = msi.restore(&read(value)).unwrap_err();
    assert_eq!(save(&msi), before);
    bench.expect(&[]);
    error
}

#[test]
fn hostile_snapshots_are_refused() {
    for version in [0, 1] {
        let error = refused(|value| value["version"] = json!(version));
        assert!(matches!(error, RestoreError::Version { found, .. } if found == version));
    }
    for (field, other) in [
        ("vectors", json!(8)),
        ("vectors", json!(0)),
        ("wide", json!(false)),
        ("maskable", json!(false)),
        ("extended_data", json!(true)),
        ("vectors", json!(3)),
        ("vectors", json!(64)),
        ("vectors", json!(u32::MAX)),
    ] {
        let error = refused(|value| value[field] = other);
        assert!(matches!(error, RestoreError::Form));
    }
    for granted in [0, 3, 8, 1 << 31, u32::MAX] {
        let error = refused(|value| value["granted"] = json!(granted));
        assert!(
            matches!(error, RestoreError::Granted { granted: found, vectors: 4, .. }
                if found == granted)
        );
    }
    let error = refused(|value| value["address"] = json!(LAPIC + 1));
    assert!(matches!(error, RestoreError::Address { .. }));
    let error = refused(|value| value["sends"]["address"] = json!(LAPIC + 2));
    assert!(matches!(error, RestoreError::Address { .. }));
    let error = refused(|value| value["extended_data_enabled"] = json!(true));
    assert!(matches!(error, RestoreError::ExtendedData));
    let error = refused(|value| value["data"] = json!(0x1_0000));
    assert!(matches!(error, RestoreError::Data { data: 0x1_0000, .. }));
    let error = refused(|value| value["sends"]["data"] = json!(u32::MAX));
    assert!(matches!(error, RestoreError::Data { data: u32::MAX, .. }));
    for field in ["masked", "pending"] {
        let error = refused(|value| value[field] = json!(0x10));
        assert!(matches!(error, RestoreError::Bits { .. }));
    }
}

#[test]
fn what_a_narrow_capability_cannot_have_is_refused() {
    let bench = Bench::new();
    let narrow = || bench.builder().wide(false).maskable(false).build().unwrap();
    let form = |value: &mut Value| {
        value["vectors"] = json!(1);
        value["granted"] = json!(1);
        value["wide"] = json!(false);
        value["maskable"] = json!(false);
        value["masked"] = json!(0);
        value["pending"] = json!(1);
    };
    let mut value = written();
    form(&mut value);
    narrow().restore(&read(value.clone())).unwrap();
    bench.expect(&[0x40]);
    for (field, hostile) in [("masked", json!(1)), ("address", json!(1_u64 << 32))] {
        let mut value = value.clone();
        value[field] = hostile;
        assert!(narrow().restore(&read(value)).is_err(), "{field}");
    }
}

/// Open vectors send the upper half only if it is enabled, whatever was written to it.
#[test]
fn extended_message_data_is_restored() {
    for (enabled, sent) in [(true, 0x7_0040), (false, 0x40)] {
        let bench = Bench::new();
        let build = || bench.builder().extended_data(true).build().unwrap();
        let msi = build();
        let _ = msi.write(4, &LAPIC.to_le_bytes());
        write32(&msi, 12, 0x7_0040);
        let _ = msi.write(2, &[1, if enabled { 4 } else { 0 }]);
        write32(&msi, 4, 0xfee0_1000);
        let saved = serde_json::to_value(save(&msi)).unwrap();
        let restored = build();
        restored.restore(&read(saved.clone())).unwrap();
        assert_eq!(save(&restored), save(&msi));
        assert_eq!(read32(&restored, 12), 0x7_0040);
        let message = vector(&restored, 0).message();
        assert_eq!((message.address, message.data), (LAPIC, sent));

        // If it is not enabled, no message can have it.
        let mut hostile = saved;
        hostile["sends"]["data"] = json!(0x8_0040);
        assert_eq!(build().restore(&read(hostile.clone())).is_ok(), enabled);
        hostile["extended_data"] = json!(false);
        let error = build().restore(&read(hostile)).unwrap_err();
        assert!(matches!(error, RestoreError::Form));
    }
}

/// Whatever it holds, by name or by place.
#[test]
fn a_later_version_is_no_parse_error() {
    let bench = Bench::new();
    let msi = driven(&bench, 4, 1, 0x60);
    for text in [
        r#"{"version":3,"granted":"all","sends":null}"#,
        r#"[3,"all",null]"#,
    ] {
        let snapshot: Snapshot = serde_json::from_str(text).unwrap();
        let error = msi.restore(&snapshot).unwrap_err();
        assert!(matches!(error, RestoreError::Version { found: 3, .. }));
        assert!(serde_json::to_string(&snapshot).is_err());
    }
    let text = "[2,4,true,true,false,false,false,1,0,0,0,0,[0,0]]";
    let by_place: Snapshot = serde_json::from_str(text).unwrap();
    assert_eq!(by_place, read(serde_json::to_value(&by_place).unwrap()));
}

#[test]
fn a_snapshot_of_what_is_not_paused_is_refused() {
    let bench = Bench::new();
    let msi = driven(&bench, 4, 1, 0x60);
    let refused = || matches!(msi.snapshot(), Err(irqfd::VectorError::NotPaused));
    assert!(refused());
    msi.pause();
    msi.snapshot().unwrap();
    assert!(msi.resume().is_empty());
    assert!(refused());
}

#[test]
fn messages_follow_the_device_id() {
    let bench = Bench::new();
    let msi = bench.builder().vectors(2).devid(0x18).build().unwrap();
    write32(&msi, 4, LAPIC as u32);
    let _ = msi.write(0xc, &0x40_u16.to_le_bytes());
    let _ = msi.write(2, &1_u16.to_le_bytes());
    let devid = |number| vector(&msi, number).message().devid;
    assert_eq!(devid(0), Some(0x18));
    assert!(msi.set_devid(Some(0x20)).is_empty());
    assert_eq!(devid(0), Some(0x20));
    // A vector that is opened later.
    let _ = msi.write(2, &0x11_u16.to_le_bytes());
    assert_eq!((devid(0), devid(1)), (Some(0x20), Some(0x20)));
    assert!(msi.set_devid(Some(0x28)).is_empty());
    assert_eq!((devid(0), devid(1)), (Some(0x28), Some(0x28)));
    // One that is masked takes it when it is opened.
    write32(&msi, 16, 1);
    assert!(msi.set_devid(None).is_empty());
    assert_eq!((devid(0), devid(1)), (Some(0x28), None));
    write32(&msi, 16, 0);
    assert_eq!(devid(0), None);
}

#[test]
fn a_vector_is_armed_on_the_gsi_that_it_is_given() {
    let bench = Bench::new();
    let builder = bench.builder().vectors(2).private_irqfd(true);
    let msi = builder.build().unwrap();
    let lease = bench.routing.lease_exact(77).unwrap();
    msi.set_lease(1, lease).unwrap();
    write32(&msi, 4, LAPIC as u32);
    let _ = msi.write(0xc, &0x40_u16.to_le_bytes());
    let _ = msi.write(2, &0x11_u16.to_le_bytes());
    assert_eq!(vector(&msi, 1).gsi().unwrap().number(), 77);
    vector(&msi, 1).trigger().unwrap();
    bench.expect(&[0x41]);
}

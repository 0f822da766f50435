// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Tables that are written and read, and used only after a check.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use irq_routing::{
    Error, IrqChip, MsiMessage, Pin, Pins, Platform, RestoreError, Route, RoutingTable, Snapshot,
    Wiring,
};
use kvm_test::{Call, Recorder};
use proptest::prelude::*;
use serde::de::value::{BytesDeserializer, MapDeserializer};
use serde::de::{Deserialize, Deserializer, Error as _, IntoDeserializer, Visitor};
use serde_json::{Value, json};

fn table() -> (Arc<Recorder>, RoutingTable) {
    let vm = Arc::new(Recorder::default());
    vm.has(Platform::X86);
    let table = RoutingTable::builder(vm.clone())
        .wiring(Wiring::none(Platform::X86))
        .build()
        .unwrap();
    (vm, table)
}

fn message(data: u32) -> MsiMessage {
    MsiMessage::new(0xfee0_0000, data)
}

/// One of each: wiring, every kind of route, a lease without a route, names.
fn written() -> String {
    let (_, table) = table();
    let both = [IrqChip::PicMaster, IrqChip::IoApic].map(|chip| Pin::new(chip, 4).unwrap());
    let mut transaction = table.transaction();
    transaction.wire(table.gsi(4).unwrap(), Pins::new(both).unwrap());
    transaction.commit().unwrap();
    let leases = [
        Some(message(1).into()),
        Some(message(2).with_devid(7).into()),
        Some(Route::HvSint { vcpu: 1, sint: 2 }),
        Some(Route::XenEvtchn {
            port: 3,
            vcpu: 4,
            priority: 5,
        }),
        Some(Pin::new(IrqChip::PicSlave, 3).unwrap().into()),
        None,
    ]
    .map(|route: Option<Route>| {
        let lease = table.lease().unwrap().named("net0");
        if let Some(route) = route {
            lease.set_route(route).unwrap();
        }
        lease
    });
    let text = serde_json::to_string(&table.snapshot()).unwrap();
    drop(leases);
    text
}

fn entries(vm: &Recorder) -> Vec<String> {
    match vm.take().as_slice() {
        [Call::Routes(entries)] => entries.iter().map(|entry| format!("{entry:?}")).collect(),
        other => panic!("one ioctl, not {other:?}"),
    }
}

#[test]
fn what_is_restored_is_what_was_written_in_one_ioctl() {
    let text = written();
    let (vm, table) = table();
    let snapshot: Snapshot = serde_json::from_str(&text).unwrap();
    table.restore(&snapshot).unwrap();
    assert_eq!(entries(&vm).len(), 7);
    assert_eq!(table.snapshot(), snapshot, "before any claim");
    assert_eq!(table.leased(), 0);
    assert!(matches!(table.lease_exact(24), Err(Error::GsiInUse { .. })));
    assert!(matches!(table.line(24), Err(Error::GsiInUse { .. })));
    let mut transaction = table.transaction();
    transaction.wire(
        table.gsi(24).unwrap(),
        Pin::new(IrqChip::IoApic, 9).unwrap(),
    );
    let rejected = transaction.commit().unwrap_err();
    assert!(matches!(rejected.error, Error::GsiInUse { gsi, .. } if gsi.number() == 24));
    assert_eq!(table.lease().unwrap().gsi().number(), 30, "none of theirs");

    let claimed = table.claim(24).unwrap();
    assert_eq!(claimed.route(), Some(message(1).into()));
    assert_eq!(claimed.name().as_deref(), Some("net0"));
    assert_eq!(table.snapshot(), snapshot, "and after");
    assert!(
        matches!(table.claim(24), Err(Error::NothingToClaim { gsi, .. }) if gsi == claimed.gsi())
    );
    assert!(
        matches!(table.claim(4), Err(Error::NothingToClaim { .. })),
        "wired"
    );
    assert!(matches!(
        table.claim(4096),
        Err(Error::GsiOutOfRange { .. })
    ));
    assert!(table.line(4).is_ok(), "wiring needs no claim");
    let line = claimed.into_line().unwrap();
    line.lease().unwrap().set_route(message(9)).unwrap();
    assert_eq!(entries(&vm).len(), 7);

    let left: Vec<_> = table.unclaimed().iter().map(|gsi| gsi.number()).collect();
    assert_eq!(left, [25, 26, 27, 28, 29]);
    for gsi in table.unclaimed() {
        drop(table.claim(gsi.number()).unwrap());
    }
    assert_eq!(table.unclaimed(), []);
    assert!(vm.take().is_empty());
    table.flush().unwrap();
    assert_eq!(entries(&vm).len(), 3, "GSI 4's two and GSI 24's");
    assert_eq!(table.lease().unwrap().gsi().number(), 25);
}

#[test]
fn the_written_form_stays_as_it_is() {
    let value: Value = serde_json::from_str(&written()).unwrap();
    let pins = |pins: &[(&str, u32)]| -> Value {
        pins.iter()
            .map(|(chip, pin)| json!({"chip": chip, "pin": pin}))
            .collect()
    };
    fn lease(gsi: u32, route: Value) -> Value {
        json!({"gsi": gsi, "wired": false, "name": "net0", "route": route})
    }
    let expected = json!({
        "version": 1,
        "platform": "x86",
        "gsis": [
            {"gsi": 4, "wired": true, "name": null,
             "route": {"pins": pins(&[("pic-master", 4), ("io-apic", 4)])}},
            lease(24, json!({"msi": {"address": 0xfee0_0000u32, "data": 1, "devid": null}})),
            lease(25, json!({"msi": {"address": 0xfee0_0000u32, "data": 2, "devid": 7}})),
            lease(26, json!({"hv-sint": {"vcpu": 1, "sint": 2}})),
            lease(27, json!({"xen-evtchn": {"port": 3, "vcpu": 4, "priority": 5}})),
            lease(28, json!({"pins": pins(&[("pic-slave", 3)])})),
            lease(29, Value::Null),
        ],
    });
    assert_eq!(value, expected);
}

/// Restores the usual snapshot after a change to it, and expects an untouched table.
#[track_caller]
fn refused(change: impl FnOnce(&mut Value)) -> RestoreError {
    let mut value: Value = serde_json::from_str(&written()).unwrap();
    change(&mut value);
    let snapshot: Snapshot = serde_json::from_value(value).unwrap();
    let (vm, table) = table();
    let error = table.restore(&snapshot).unwrap_err();
    assert!(vm.take().is_empty());
    expect_empty(&table);
    error
}

#[track_caller]
fn expect_empty(table: &RoutingTable) {
    assert_eq!(
        (table.leased(), table.routes(), table.unclaimed()),
        (0, vec![], vec![])
    );
    assert_eq!(table.lease().unwrap().gsi().number(), 24);
}

#[test]
fn a_version_that_is_not_known_is_refused() {
    for found in [0, 2, u32::MAX] {
        let error = refused(|value| value["version"] = json!(found));
        assert!(
            matches!(error, RestoreError::Version { found: it, .. } if it == found),
            "{error}"
        );
    }
}

#[test]
fn a_machine_of_another_kind_is_refused() {
    let error = refused(|value| value["platform"] = json!("arm64-gic"));
    let expected =
        "the snapshot is of a VM with arm64 GIC, and cannot be restored to one with x86 irqchip";
    assert_eq!(error.to_string(), expected);
    let split = RoutingTable::builder(Arc::new(Recorder::default()))
        .wiring(Wiring::none(Platform::X86Split));
    let snapshot: Snapshot = serde_json::from_str(&written()).unwrap();
    let error = split.build().unwrap().restore(&snapshot).unwrap_err();
    assert!(matches!(error, RestoreError::Platform { .. }));
}

#[test]
fn a_gsi_that_is_out_of_range_or_occurs_twice_is_refused() {
    for number in [4096, u32::MAX] {
        let error = refused(|value| value["gsis"][3]["gsi"] = json!(number));
        assert!(matches!(
            error,
            RestoreError::Refused { cause: Error::GsiOutOfRange { gsi, limit: 4096, .. }, .. }
                if gsi == number
        ));
    }
    for twice in [4, 24] {
        let error = refused(|value| value["gsis"][3]["gsi"] = json!(twice));
        assert!(matches!(error, RestoreError::Duplicate { gsi, .. } if gsi.number() == twice));
    }
}

#[test]
fn a_route_that_cannot_be_is_refused() {
    let pins = |chip: &str, numbers: &[u32]| -> Value {
        numbers
            .iter()
            .map(|pin| json!({"chip": chip, "pin": pin}))
            .collect()
    };
    for route in [
        pins("io-apic", &[24]),
        pins("pic-master", &[8]),
        pins("gic", &[u32::MAX]),
        pins("io-apic", &[1, 2]),
        json!([]),
        json!([{"chip": "gic", "pin": 1}, {"chip": "io-apic", "pin": 1}]),
    ] {
        let error = refused(|value| value["gsis"][0]["route"] = json!({"pins": route}));
        assert!(matches!(error, RestoreError::Route { gsi, .. } if gsi.number() == 4));
    }
    for route in [Value::Null, json!({"hv-sint": {"vcpu": 1, "sint": 2}})] {
        let error = refused(|value| value["gsis"][0]["route"] = route);
        assert!(matches!(error, RestoreError::NotPins { gsi, .. } if gsi.number() == 4));
    }
    let error = refused(|value| value["gsis"][1]["route"] = json!({"pins": pins("aplic", &[9])}));
    assert!(matches!(
        error,
        RestoreError::Refused {
            cause: Error::NoSuchChip { .. },
            ..
        }
    ));
}

#[test]
fn a_name_that_would_spoil_a_message_is_refused() {
    for name in ["line\nbreak", "\u{1b}[2J", &"x".repeat(129)] {
        let error = refused(|value| value["gsis"][1]["name"] = json!(name));
        assert!(matches!(error, RestoreError::Name { gsi, .. } if gsi.number() == 24));
        let (_, table) = table();
        let lease = table.lease().unwrap().named(name);
        let snapshot = table.snapshot();
        drop(lease);
        table.restore(&snapshot).unwrap();
    }
}

#[test]
fn a_table_that_is_in_use_is_left_alone() {
    let snapshot: Snapshot = serde_json::from_str(&written()).unwrap();
    let (vm, table) = table();
    let lease = table.lease().unwrap();
    assert!(matches!(
        table.restore(&snapshot),
        Err(RestoreError::NotEmpty)
    ));
    drop(lease);
    let mut transaction = table.transaction();
    transaction.wire(table.gsi(9).unwrap(), Pin::new(IrqChip::IoApic, 9).unwrap());
    transaction.commit().unwrap();
    vm.take();
    assert!(matches!(
        table.restore(&snapshot),
        Err(RestoreError::NotEmpty)
    ));
    let mut transaction = table.transaction();
    transaction.unwire(table.gsi(9).unwrap());
    transaction.commit().unwrap();
    table.restore(&snapshot).unwrap();
    assert!(matches!(
        table.restore(&snapshot),
        Err(RestoreError::NotEmpty)
    ));
}

#[test]
fn a_snapshot_that_the_kernel_refuses_leaves_nothing() {
    let snapshot: Snapshot = serde_json::from_str(&written()).unwrap();
    let (vm, table) = table();
    vm.fail_after(0, 22);
    let error = table.restore(&snapshot).unwrap_err();
    assert!(
        matches!(
            error,
            RestoreError::Refused {
                cause: Error::Refused { edits: 6, .. },
                ..
            }
        ),
        "{error:?}"
    );
    expect_empty(&table);
    vm.take();
    table.restore(&snapshot).unwrap();
    assert_eq!(entries(&vm).len(), 7);
}

#[test]
fn a_full_table_of_pins_is_too_much() {
    let (_, table) = table();
    let gsis: Vec<Value> = (0..4096)
        .map(|gsi| {
            let pins = json!([{"chip": "pic-master", "pin": 1}, {"chip": "io-apic", "pin": 1}]);
            json!({"gsi": gsi, "wired": true, "name": null, "route": {"pins": pins}})
        })
        .collect();
    let text = json!({"version": 1, "platform": "x86", "gsis": gsis});
    let snapshot: Snapshot = serde_json::from_value(text).unwrap();
    let error = table.restore(&snapshot).unwrap_err();
    assert!(matches!(
        error,
        RestoreError::Refused {
            cause: Error::TableFull { entries: 8192, .. },
            ..
        }
    ));
    expect_empty(&table);
}

#[test]
fn truncated_text_is_an_error_of_its_format() {
    let text = written();
    for length in 0..text.len() {
        assert!(serde_json::from_str::<Snapshot>(&text[..length]).is_err());
    }
}

#[test]
fn quarantine_is_left_behind() {
    let (_, table) = table();
    let line = table.lease_msi(message(1)).unwrap().into_line().unwrap();
    let kept = table.lease_msi(message(2)).unwrap();
    line.quarantine();
    let snapshot = table.snapshot();
    let (_, restored) = self::table();
    restored.restore(&snapshot).unwrap();
    assert_eq!(restored.unclaimed(), [kept.gsi()]);
}

proptest! {
    /// Any changed bit or digit gives either an error and an empty table, or the table that was
    /// read.
    #[test]
    fn damaged_text_never_panics(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut text = written().into_bytes();
        for (place, byte) in damage {
            let place = place.index(text.len());
            text[place] = byte;
        }
        if let Ok(snapshot) = serde_json::from_slice::<Snapshot>(&text) {
            let (vm, table) = table();
            match table.restore(&snapshot) {
                Ok(()) => prop_assert_eq!(vm.take().len(), 1),
                Err(_) => expect_empty(&table),
            }
        }
    }
}

/// What a later version may write, in the order in which it is written: the version first.
#[test]
fn a_later_version_is_no_parse_error() {
    let restored = |snapshot: &Snapshot| {
        let (_, table) = table();
        table.restore(snapshot).unwrap_err()
    };
    for text in [
        r#"{"version":2}"#,
        r#"{"version":2,"gsis":"none","new":[1,{"a":null}]}"#,
        r#"{"version":2,"platform":"loongarch","gsis":{"first":24}}"#,
        r#"{"new":1,"version":2,"platform":7}"#,
        r#"[2,"loongarch",{"first":24},true]"#,
        r#"[2]"#,
    ] {
        let snapshot: Snapshot = serde_json::from_str(text).unwrap();
        let error = restored(&snapshot);
        assert!(
            matches!(error, RestoreError::Version { found: 2, .. }),
            "{text}: {error}"
        );
        let rewritten = serde_json::to_string(&snapshot).unwrap_err();
        assert!(rewritten.to_string().contains("version 2"), "{rewritten}");
    }
    // Values are sorted by their names.
    let later = json!({"version": 2, "platform": "loongarch", "gsis": {"first": 24}});
    let snapshot: Snapshot = serde_json::from_value(later).unwrap();
    assert!(matches!(
        restored(&snapshot),
        RestoreError::Version { found: 2, .. }
    ));
    for broken in [
        r#"{"version":2"#,
        r#"{"version":2,"new":}"#,
        r#"[2,1"#,
        r#"[]"#,
        r#"{}"#,
        r#"{"version":1}"#,
        r#"{"version":1,"platform":"loongarch","gsis":[]}"#,
        r#"{"version":1,"version":1,"platform":"x86","gsis":[]}"#,
        r#"{"version":"2"}"#,
        r#"{"version":2,"version":3}"#,
        r#"{"platform":"x86","gsis":[]}"#,
    ] {
        assert!(
            serde_json::from_str::<Snapshot>(broken).is_err(),
            "{broken}"
        );
    }
    let empty: Snapshot = serde_json::from_str(r#"[1,"x86",[]]"#).unwrap();
    let by_name = r#"{"gsis":[],"version":1,"platform":"x86"}"#;
    assert_eq!(
        serde_json::from_str::<Snapshot>(by_name).unwrap(),
        empty,
        "in any order"
    );
}

/// A hostile text may be as long as it likes.
#[test]
fn longer_lists_than_any_table_has_are_not_read() {
    let gsis = |count| {
        let list = vec!["[0,false,null,null]"; count].join(",");
        format!(r#"{{"version":1,"platform":"x86","gsis":[{list}]}}"#)
    };
    assert!(serde_json::from_str::<Snapshot>(&gsis(1 << 16)).is_ok());
    let pins = vec![r#"{"chip":"gic","pin":1}"#; 1_000_000].join(",");
    let pins =
        format!(r#"{{"version":1,"platform":"x86","gsis":[[0,false,null,{{"pins":[{pins}]}}]]}}"#);
    for (text, most) in [(gsis(1_000_000), 16 << 20), (pins, 1 << 16)] {
        let mut read = None;
        let used = allocation_counter::measure(|| {
            read = Some(serde_json::from_str::<Snapshot>(&text));
        });
        let error = read.unwrap().unwrap_err().to_string();
        assert!(error.contains("a list of at most"), "{error}");
        assert!(used.bytes_max < most, "{} bytes", used.bytes_max);
    }
}

/// Formats without names read as many fields as the schema has.
#[test]
fn formats_are_told_the_fields() {
    use serde::de::value::Error;

    struct Names<'a>(&'a mut (&'static str, &'static [&'static str]));

    impl<'de> Deserializer<'de> for Names<'_> {
        type Error = Error;

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            name: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Error> {
            *self.0 = (name, fields);
            self.deserialize_any(visitor)
        }

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            Err(Error::custom("nothing to read"))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
            option unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier
            ignored_any
        }
    }

    let mut names: (&str, &[&str]) = ("", &[]);
    assert!(Snapshot::deserialize(Names(&mut names)).is_err());
    let fields: &[&str] = &["version", "platform", "gsis"];
    assert_eq!(names, ("Snapshot", fields));
}

/// A field's name as RON has it: an identifier, which is no string.
struct Identifier(&'static str);

impl<'de> IntoDeserializer<'de, serde_json::Error> for Identifier {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Identifier {
    type Error = serde_json::Error;

    fn deserialize_identifier<V: Visitor<'de>>(
        self,
        visitor: V,
    ) -> Result<V::Value, serde_json::Error> {
        visitor.visit_borrowed_str(self.0)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, serde_json::Error> {
        Err(serde_json::Error::custom("expected an identifier"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        option unit unit_struct newtype_struct seq tuple tuple_struct struct map enum ignored_any
    }
}

/// Formats write the names of fields as strings, as identifiers (RON), as bytes or as numbers
/// (packed CBOR).
#[test]
fn fields_are_known_by_whatever_names_a_format_has() {
    fn read<'de>(
        fields: impl IntoIterator<Item = (impl IntoDeserializer<'de, serde_json::Error>, Value)>,
    ) -> Snapshot {
        Snapshot::deserialize(MapDeserializer::new(fields.into_iter())).unwrap()
    }
    let names = ["version", "platform", "gsis"];
    for version in [1, 2] {
        let values = || [json!(version), json!("x86"), json!([])];
        let by_string = read(names.into_iter().zip(values()));
        assert_eq!(
            read(names.map(Identifier).into_iter().zip(values())),
            by_string
        );
        let bytes = names.map(|name| BytesDeserializer::new(name.as_bytes()));
        assert_eq!(read(bytes.into_iter().zip(values())), by_string);
        assert_eq!(read((0_u64..).zip(values())), by_string);
        let (_, table) = table();
        let restored = table.restore(&by_string);
        match version {
            1 => restored.unwrap(),
            _ => assert!(matches!(
                restored,
                Err(RestoreError::Version { found: 2, .. })
            )),
        }
    }
}

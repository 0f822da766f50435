// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Saved states of other programs: the table's bytes, the pending bits and Message Control.

use irqfd::RestoreError;
use irqfd::msix::{Registers, Snapshot, Table};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Bench, LAPIC, expect_kept, program, read32, save, set_mask, vector};

/// The MSI-X state of a device as Firecracker 1.13 saves it: the same names and types.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct MsixConfigState {
    table_entries: Vec<MsixTableEntry>,
    pba_entries: Vec<u64>,
    masked: bool,
    enabled: bool,
    vectors: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct MsixTableEntry {
    msg_addr_lo: u32,
    msg_addr_hi: u32,
    msg_data: u32,
    vector_ctl: u32,
}

/// What an adopter writes.
impl MsixConfigState {
    fn registers(&self) -> Registers {
        let flag = |set, bit: u16| if set { bit } else { 0 };
        let words = self.table_entries.iter().flat_map(|entry| {
            [
                entry.msg_addr_lo,
                entry.msg_addr_hi,
                entry.msg_data,
                entry.vector_ctl,
            ]
        });
        Registers {
            control: flag(self.enabled, 0x8000)
                | flag(self.masked, 0x4000)
                | (self.table_entries.len() - 1) as u16,
            table: words.flat_map(u32::to_le_bytes).collect(),
            pending: self.pba_entries.clone(),
        }
    }

    fn of(table: &Table) -> Self {
        let registers = save(table).registers().unwrap();
        let entry = |bytes: &[u8]| {
            let word = |n: usize| u32::from_le_bytes(bytes[4 * n..][..4].try_into().unwrap());
            MsixTableEntry {
                msg_addr_lo: word(0),
                msg_addr_hi: word(1),
                msg_data: word(2),
                vector_ctl: word(3),
            }
        };
        let gsis = table.vectors().iter();
        Self {
            table_entries: registers.table.chunks(16).map(entry).collect(),
            pba_entries: registers.pending,
            masked: registers.control & 0x4000 != 0,
            enabled: registers.control & 0x8000 != 0,
            vectors: gsis
                .map(|vector| vector.gsi().map_or(0, |gsi| gsi.number()))
                .collect(),
        }
    }
}

/// A device of three vectors that Firecracker has saved: it has a word of pending bits too many.
const SAVED: &str = r#"{
    "table_entries": [
        {"msg_addr_lo": 4276092928, "msg_addr_hi": 0, "msg_data": 64, "vector_ctl": 0},
        {"msg_addr_lo": 4276092928, "msg_addr_hi": 0, "msg_data": 65, "vector_ctl": 0},
        {"msg_addr_lo": 4276092928, "msg_addr_hi": 0, "msg_data": 66, "vector_ctl": 1}
    ],
    "pba_entries": [4, 0],
    "masked": false,
    "enabled": true,
    "vectors": [24, 25, 26]
}"#;

#[test]
fn a_device_that_firecracker_has_saved_goes_on_with_its_gsis() {
    let state: MsixConfigState = serde_json::from_str(SAVED).unwrap();
    let bench = Bench::new();
    let builder = Table::builder(&bench.routing)
        .vectors(3)
        .private_irqfd(true);
    let table = builder.build().unwrap();
    table.pause();
    let snapshot = Snapshot::try_from(&state.registers()).unwrap();
    table.restore(&snapshot).unwrap();
    for (number, gsi) in (0..).zip(&state.vectors) {
        let lease = bench.routing.lease_exact(*gsi).unwrap();
        table.set_lease(number, lease).unwrap();
    }
    assert!(table.resume().is_empty());

    vector(&table, 0).trigger().unwrap();
    bench.expect(&[64]);
    assert_eq!(vector(&table, 1).gsi().unwrap().number(), 25);
    assert!(vector(&table, 2).is_pending());
    set_mask(&table, 2, false);
    bench.expect(&[66]);

    // And back. Vector 2 is open now, and has nothing pending.
    let mut expected = state;
    expected.table_entries[2].vector_ctl = 0;
    expected.pba_entries = vec![0];
    assert_eq!(MsixConfigState::of(&table), expected);
}

#[test]
fn a_lease_for_a_vector_that_is_not_there_comes_back() {
    let bench = Bench::new();
    let table = bench.table(3);
    let lease = bench.routing.lease_exact(77).unwrap();
    let rejected = table.set_lease(3, lease).unwrap_err();
    assert!(matches!(
        rejected.error,
        irqfd::VectorError::NoVector { number: 3, .. }
    ));
    assert_eq!(rejected.value.gsi().number(), 77);
}

#[test]
fn registers_are_what_the_guest_sees() {
    let bench = Bench::new();
    let table = bench.enabled(65);
    program(&table, 64, 0x55);
    expect_kept(&table, 64);
    expect_kept(&table, 1);
    let registers = save(&table).registers().unwrap();
    assert_eq!(registers.control, table.message_control());
    assert_eq!(registers.pending, [2, 1]);
    assert_eq!(registers.table.len(), 16 * table.vectors().len());
    for (offset, bytes) in (0..).step_by(4).zip(registers.table.chunks(4)) {
        assert_eq!(bytes, read32(&table, offset).to_le_bytes());
    }
}

fn good() -> Registers {
    Registers {
        control: 0x8002,
        table: [0; 48].to_vec(),
        pending: vec![0],
    }
}

#[test]
fn what_is_no_state_of_a_table_is_refused() {
    let refused = |change: fn(&mut Registers)| {
        let mut registers = good();
        change(&mut registers);
        Snapshot::try_from(&registers).unwrap_err()
    };
    for (error, bytes) in [
        (refused(|it| it.table.truncate(47)), 47),
        (refused(|it| it.table.clear()), 0),
        (refused(|it| it.table.resize(16 * 2049, 0)), 16 * 2049),
    ] {
        assert!(matches!(error, RestoreError::Bytes { bytes: found, .. } if found == bytes));
    }
    let error = refused(|it| it.control = 0x8003);
    assert!(matches!(
        error,
        RestoreError::Vectors {
            found: 4,
            wanted: 3,
            ..
        }
    ));
    let error = refused(|it| it.pending[0] = 1 << 3);
    assert!(matches!(error, RestoreError::Pending { vector: 3, .. }));
    let error = refused(|it| it.pending.push(1 << 63));
    assert!(matches!(error, RestoreError::Pending { vector: 127, .. }));
    let error = refused(|it| it.pending.resize(33, u64::MAX - 7));
    assert!(matches!(error, RestoreError::Pending { .. }));
    let error = refused(|it| {
        it.pending.resize(40, 0);
        it.pending[39] = 1 << 5;
    });
    // More than any table has.
    assert!(matches!(error, RestoreError::Pending { vector: 2048, .. }));
}

/// Other programs keep meaningless bits.
#[test]
fn bits_without_a_meaning_are_dropped() {
    let mut registers = good();
    registers.control |= 0x3800;
    registers.table[0] = 0xff;
    registers.table[12..16].fill(0xfe);
    registers.pending.clear();
    let snapshot = Snapshot::try_from(&registers).unwrap();
    registers.pending.resize(40, 0);
    assert_eq!(Snapshot::try_from(&registers).unwrap(), snapshot);
    let kept = snapshot.registers().unwrap();
    assert_eq!(kept.control, 0x8002);
    assert_eq!((kept.table[0], &kept.table[12..16]), (0xfc, &[0; 4][..]));
    assert_eq!(kept.pending, [0]);
}

proptest! {
    #[test]
    fn any_registers_are_refused_or_restored_as_they_are(
        control in any::<u16>(),
        table in prop::collection::vec(any::<u8>(), 0..100),
        pending in prop::collection::vec(any::<u64>(), 0..3),
    ) {
        let mut registers = Registers { control, table, pending };
        if control & 1 == 0 {
            // Likely ones.
            registers.table.resize(48, 0x5a);
            registers.control = control & 0xc000 | 2;
            registers.pending = vec![u64::from(control) % 8];
        }
        let Ok(snapshot) = Snapshot::try_from(&registers) else {
            prop_assert!(control & 1 != 0);
            return Ok(());
        };
        let bench = Bench::new();
        let table = bench.table(registers.table.len() / 16);
        table.pause();
        table.restore(&snapshot).unwrap();
        let restored = table.snapshot().unwrap();
        prop_assert_eq!(&restored, &snapshot);
        let restored = restored.registers().unwrap();
        prop_assert_eq!(restored.control & 0xc7ff, registers.control & 0xc7ff);
        let pending = registers.pending.iter().chain(&[0]);
        prop_assert_eq!(restored.pending.first(), pending.take(1).next());
        let address = |bytes: &[u8]| u64::from_le_bytes(bytes[..8].try_into().unwrap()) & !3;
        for (now, then) in restored.table.chunks(16).zip(registers.table.chunks(16)) {
            prop_assert_eq!(address(now), address(then));
            prop_assert_eq!(&now[8..12], &then[8..12]);
            prop_assert_eq!(now[12] & 1, then[12] & 1);
        }
    }
}

#[test]
fn a_snapshot_of_a_later_version_has_no_registers() {
    let later: Snapshot = serde_json::from_str(r#"{"version":3}"#).unwrap();
    let error = later.registers().unwrap_err();
    assert!(matches!(error, RestoreError::Version { found: 3, .. }));
}

/// A guest numbers its buses anew.
#[test]
fn messages_follow_the_device_id() {
    let bench = Bench::new();
    let builder = Table::builder(&bench.routing).vectors(2).devid(0x18);
    let table = builder.build().unwrap();
    let _ = table.set_control(true, false);
    (0..2).for_each(|number| program(&table, number, 0x40));
    set_mask(&table, 0, false);
    let devid = |number| vector(&table, number).message().devid;
    assert_eq!(devid(0), Some(0x18));
    assert!(table.set_devid(Some(0x20)).is_empty());
    assert_eq!(devid(0), Some(0x20));
    assert_eq!(vector(&table, 0).message().address, LAPIC);
    set_mask(&table, 1, false);
    assert_eq!(devid(1), Some(0x20));
    assert!(table.set_devid(None).is_empty());
    assert_eq!((devid(0), devid(1)), (None, None));
}

#[test]
fn a_snapshot_that_no_table_has_has_no_registers() {
    let read = |json: &str| serde_json::from_str::<Snapshot>(json).unwrap();
    let empty = read(r#"{"version":2,"enabled":true,"function_masked":false,"vectors":[]}"#);
    let error = empty.registers().unwrap_err();
    assert!(matches!(error, RestoreError::Bytes { bytes: 0, .. }));
    let unaligned = read(
        r#"{"version":2,"enabled":true,"function_masked":false,"vectors":
           [{"address":1,"data":0,"masked":true,"pending":false}]}"#,
    );
    let error = unaligned.registers().unwrap_err();
    assert!(matches!(error, RestoreError::Address { address: 1, .. }));
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Tables that are written and read, and used only after a check.

use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use irq_routing::{MsiMessage, RoutingTable};
use irqfd::ArmQueue;
use irqfd::RestoreError;
use irqfd::msix::{Snapshot, Table};
use kvm_test::{ThreadId, refuse};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use notify_core::EventNotifier;
use notify_sim::SimVm;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Bench, LAPIC, expect_kept, pending, program, read32, save, set_mask, vector, write32};

/// Vector 0: open, with a message that was changed while it was open. Vector 1: masked and pending.
/// Vector 2: exported, masked and pending.
fn written() -> Value {
    let bench = Bench::new();
    let table = bench.enabled(3);
    (0..3).for_each(|number| program(&table, number, 0x40 + number as u32));
    set_mask(&table, 0, false);
    write32(&table, 8, 0x50);
    expect_kept(&table, 1);
    vector(&table, 2).export().unwrap().notify().unwrap();
    serde_json::to_value(save(&table)).unwrap()
}

fn read(value: Value) -> Snapshot {
    serde_json::from_value(value).unwrap()
}

#[test]
fn the_written_form_stays_as_it_is() {
    fn entry(data: u32, masked: bool, pending: bool) -> Value {
        json!({"address": LAPIC, "data": data, "masked": masked, "pending": pending})
    }
    let expected = json!({
        "version": 2,
        "enabled": true,
        "function_masked": false,
        "vectors": [
            entry(0x50, false, false),
            entry(0x41, true, true),
            entry(0x42, true, true),
        ],
    });
    assert_eq!(written(), expected);
}

#[test]
fn what_is_restored_is_what_was_written() {
    let bench = Bench::new();
    let table = bench.table(3);
    let snapshot = read(written());
    table.restore(&snapshot).unwrap();
    assert_eq!(save(&table), snapshot);
    assert_eq!(table.message_control(), 0x8002);
    assert_eq!(pending(&table, 0), 0b110);
    bench.expect(&[]);
    vector(&table, 0).trigger().unwrap();
    bench.expect(&[0x50]);
    assert_eq!(read32(&table, 8), 0x50, "what the guest reads");
    for number in 0..3 {
        set_mask(&table, number, true);
        set_mask(&table, number, false);
    }
    bench.expect(&[0x41, 0x42]);
    vector(&table, 0).trigger().unwrap();
    bench.expect(&[0x50]);
}

/// A snapshot has no device ID: the restored device sends with its own.
#[test]
fn a_restored_device_has_its_own_identity() {
    let bench = Bench::new();
    let builder = Table::builder(&bench.routing).vectors(3).devid(0x18);
    let table = builder.build().unwrap();
    table.restore(&read(written())).unwrap();
    let message = vector(&table, 0).message();
    assert_eq!((message.data, message.devid), (0x50, Some(0x18)));
}

#[test]
fn what_was_pending_goes_to_the_notifier_of_a_vector_that_is_exported() {
    let bench = Bench::new();
    let table = bench.table(3);
    let notifier = vector(&table, 1).export().unwrap();
    let stale = vector(&table, 0).export().unwrap();
    stale.notify().unwrap();
    table.restore(&read(written())).unwrap();
    assert!(notifier.is_signalled().unwrap());
    assert!(!stale.is_signalled().unwrap(), "that was of before");
    set_mask(&table, 1, false);
    bench.expect(&[0x41]);
}

#[test]
fn a_pending_interrupt_that_its_notifier_does_not_take_is_kept() {
    let bench = Bench::new();
    let table = bench.table(3);
    vector(&table, 1).export().unwrap();
    let snapshot = read(written());
    thread::scope(|scope| {
        scope.spawn(|| {
            refuse(libc::SYS_write, None, libc::EPERM).unwrap();
            table.restore(&snapshot).unwrap();
        });
    });
    assert!(vector(&table, 1).is_pending());
    set_mask(&table, 1, false);
    bench.expect(&[0x41]);
}

/// A peer fills its notifier and makes it blocking: the restoring thread waits for the peer, and
/// the guest does not.
#[test]
fn a_peer_that_blocks_a_restore_does_not_block_the_guest() {
    let hostile: Arc<OnceLock<Arc<EventNotifier>>> = Arc::default();
    let peer = Arc::clone(&hostile);
    // A restore empties the notifier. Vector 0 sends its message before vector 1 gets its pending
    // interrupt.
    let translate = move |message: MsiMessage| {
        if let Some(notifier) = peer.get() {
            fcntl(&**notifier, FcntlArg::F_SETFL(OFlag::O_RDWR)).unwrap();
            EventNotifier::as_ref(notifier).write(u64::MAX - 1).unwrap();
        }
        Some(message)
    };
    let vm = Arc::new(SimVm::builder().build());
    let routing = RoutingTable::builder(vm).translate(translate);
    let routing = routing.build().unwrap();
    let table = Table::builder(&routing).vectors(3).build().unwrap();
    hostile.set(vector(&table, 1).export().unwrap()).unwrap();
    let mut written = written();
    written["vectors"][0]["pending"] = json!(true);
    let snapshot = read(written);

    let (tell, told) = mpsc::channel();
    let restoring = table.clone();
    let restores = thread::spawn(move || {
        tell.send(ThreadId::current().unwrap()).unwrap();
        restoring.restore(&snapshot)
    });
    told.recv().unwrap().wait_until_asleep().unwrap();
    assert!(!restores.is_finished());
    let (sender, result) = mpsc::channel();
    thread::spawn(move || sender.send(read32(&table, 8)));
    let read = result.recv_timeout(Duration::from_secs(60));
    assert_eq!(read, Ok(0x50), "the guest waits for the peer");
    let blocked = hostile.get().unwrap();
    assert!(blocked.consume().unwrap().is_some());
    restores.join().unwrap().unwrap();
    assert!(blocked.is_signalled().unwrap());
}

/// Pending interrupts of a vector that waits in the queue, or that has no route, are not lost.
#[test]
fn what_is_open_and_not_armed_is_saved_with_its_signal() {
    let bench = Bench::new();
    let queue = ArmQueue::new(&bench.routing).unwrap();
    let table = Table::builder(&bench.routing)
        .queue(&queue)
        .build()
        .unwrap();
    let _ = table.set_control(true, false);
    program(&table, 0, 0x41);
    let notifier = vector(&table, 0).export().unwrap();
    set_mask(&table, 0, false);
    notifier.notify().unwrap();
    let snapshot = save(&table);
    let _ = queue.run_pending();
    bench.expect(&[0x41]);
    // An armed one has nothing to be saved.
    notifier.notify().unwrap();
    assert_ne!(save(&table), snapshot);

    let bench = Bench::new();
    let table = bench.table(1);
    table.restore(&snapshot).unwrap();
    bench.expect(&[0x41]);
}

#[test]
fn a_snapshot_of_what_is_not_paused_is_refused() {
    let bench = Bench::new();
    let table = bench.enabled(1);
    let expect_refused = || {
        let error = table.snapshot().unwrap_err();
        assert!(matches!(error, irqfd::VectorError::NotPaused));
        assert!(error.to_string().contains("call `pause`"), "{error}");
    };
    expect_refused();
    table.pause();
    table.pause();
    assert!(super::is_paused(&table));
    table.snapshot().unwrap();
    assert!(table.resume().is_empty());
    assert!(!super::is_paused(&table));
    expect_refused();
}

/// Restores after a change, and expects to find the table untouched.
#[track_caller]
fn refused(change: impl FnOnce(&mut Value)) -> RestoreError {
    let mut value = written();
    change(&mut value);
    let bench = Bench::new();
    let table = bench.enabled(3);
    program(&table, 1, 0x77);
    expect_kept(&table, 1);
    let before = save(&table);
    let error = table.restore(&read(value)).unwrap_err();
    assert_eq!(save(&table), before);
    bench.expect(&[]);
    error
}

#[test]
fn hostile_snapshots_are_refused() {
    let error = refused(|value| value["version"] = json!(1));
    assert!(matches!(error, RestoreError::Version { found: 1, .. }));
    assert_eq!(
        error.to_string(),
        "the snapshot is of version 1, and only 2 is known; read it with another release"
    );

    for size in [0, 2, 4, 2048] {
        let error = refused(|value| {
            let vectors = value["vectors"].as_array_mut().unwrap();
            vectors.resize(size, vectors[1].clone());
        });
        assert!(matches!(error, RestoreError::Vectors { found, wanted: 3, .. } if found == size));
    }
    for bit in 1..4_u64 {
        let address = LAPIC | bit;
        let error = refused(|value| value["vectors"][2]["address"] = json!(address));
        let RestoreError::Address {
            vector: Some(2),
            address: found,
            ..
        } = error
        else {
            panic!("{error:?}");
        };
        assert_eq!(found, address);
    }
}

#[test]
fn what_cannot_be_a_snapshot_is_not_read() {
    for (field, value) in [
        ("version", json!(-1)),
        ("vectors", json!({})),
        ("enabled", json!(1)),
        ("vectors", json!([{"address": 1}])),
    ] {
        let mut written = written();
        written[field] = value;
        assert!(serde_json::from_value::<Snapshot>(written).is_err());
    }
    let mut written = written();
    let vector = written["vectors"][0].clone();
    written["vectors"] = vec![vector; 2049].into();
    let error = serde_json::from_value::<Snapshot>(written).unwrap_err();
    assert!(error.to_string().contains("at most 2048"), "{error}");
}

/// Whatever it holds, by name or by place.
#[test]
fn a_later_version_is_no_parse_error() {
    let bench = Bench::new();
    let table = bench.enabled(3);
    for text in [
        r#"{"version":3,"enabled":"often","vectors":{"0":null}}"#,
        r#"[3,"often",{"0":null}]"#,
    ] {
        let snapshot: Snapshot = serde_json::from_str(text).unwrap();
        let error = table.restore(&snapshot).unwrap_err();
        assert!(matches!(error, RestoreError::Version { found: 3, .. }));
        assert!(serde_json::to_string(&snapshot).is_err());
    }
    let mut later = written();
    later["version"] = json!(3);
    later["vectors"] = json!(3);
    let snapshot: Snapshot = serde_json::from_value(later).unwrap();
    let error = table.restore(&snapshot).unwrap_err();
    assert!(matches!(error, RestoreError::Version { found: 3, .. }));
    let by_place: Snapshot = serde_json::from_str("[2,false,false,[]]").unwrap();
    let by_name = json!({"version": 2, "enabled": false, "function_masked": false, "vectors": []});
    assert_eq!(by_place, read(by_name));
}

fn saved() -> impl Strategy<Value = Value> {
    (any::<u64>(), any::<u32>(), any::<bool>(), any::<bool>()).prop_map(
        |(address, data, masked, pending)| {
            let address = if data % 8 == 0 { address } else { address & !3 };
            json!({"address": address, "data": data, "masked": masked, "pending": pending})
        },
    )
}

proptest! {
    /// A snapshot is either refused without effect or becomes the state of the table.
    #[test]
    fn any_snapshot_is_restored_whole_or_not_at_all(
        enabled in any::<bool>(),
        function_masked in any::<bool>(),
        vectors in prop::collection::vec(saved(), 1..5),
        exported in any::<u8>(),
    ) {
        let value = json!({
            "version": 2,
            "enabled": enabled,
            "function_masked": function_masked,
            "vectors": vectors,
        });
        let snapshot = read(value);
        let bench = Bench::new();
        let table = bench.table(3);
        (0..3).filter(|n| exported >> n & 1 != 0).for_each(|n| drop(vector(&table, n).export()));
        let before = save(&table);
        match table.restore(&snapshot) {
            Err(_) => prop_assert_eq!(save(&table), before),
            Ok(_) => {
                let now = serde_json::to_value(save(&table)).unwrap();
                let then = serde_json::to_value(&snapshot).unwrap();
                for n in 0..3 {
                    for field in ["address", "data", "masked"] {
                        prop_assert_eq!(&now["vectors"][n][field], &then["vectors"][n][field]);
                    }
                    let (now, then) = (&now["vectors"][n], &then["vectors"][n]);
                    let open = enabled && !function_masked && now["masked"] == json!(false);
                    if !open {
                        prop_assert_eq!(&now["pending"], &then["pending"]);
                    }
                }
            }
        }
    }
}

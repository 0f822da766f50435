// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Guest accesses from several vCPUs, and triggers, at once.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, Once};
use std::thread;

use irq_routing::RoutingTable;
use irqfd::msix::Table;
use irqfd::{Triggered, VectorState};
use kvm_test::{Call, PATIENCE, Recorder};

use super::{Bench, pending, program, read32, set_mask, vector};

/// Whoever masks must not wait for the commit that somebody else's unmask needs, nor must reads.
fn holds_nobody_up(open: fn(&Table)) {
    let vm = Arc::new(Recorder::default());
    let routing = RoutingTable::new(vm.clone()).unwrap();
    let table = Table::builder(&routing).vectors(2).build().unwrap();
    vector(&table, 0).export().unwrap();
    let (started, start) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    vm.on_routes(move |_| {
        let _ = started.send(());
        let released = released.lock().unwrap().recv_timeout(PATIENCE);
        assert_eq!(released, Err(RecvTimeoutError::Disconnected), "held up");
        Ok(())
    });
    thread::scope(|scope| {
        let opens = scope.spawn(|| open(&table));
        start.recv_timeout(PATIENCE).unwrap();
        // The kernel has the table of routes; another vCPU masks the vector again.
        set_mask(&table, 0, true);
        assert_eq!(read32(&table, 12), 1);
        assert!(vector(&table, 0).is_masked());
        assert_eq!(pending(&table, 0), 0);
        drop(release);
        opens.join().unwrap();
    });
    assert!(matches!(vector(&table, 0).state(), VectorState::Masked));
    // And wanted once more while it is on the way.
    set_mask(&table, 0, false);
    assert!(matches!(vector(&table, 0).state(), VectorState::Armed));
}

#[test]
fn a_mask_bits_commit_holds_nobody_up() {
    holds_nobody_up(|table| {
        table.set_control(true, false);
        set_mask(table, 0, false);
    });
}

#[test]
fn a_functions_commit_holds_nobody_up() {
    holds_nobody_up(|table| {
        set_mask(table, 0, false);
        table.set_control(true, false);
    });
}

#[test]
fn the_commit_of_what_is_restored_holds_nobody_up() {
    holds_nobody_up(|table| {
        let bench = Bench::new();
        let saved = bench.enabled(2);
        set_mask(&saved, 0, false);
        table.restore(&saved.snapshot()).unwrap();
    });
}

/// Another vCPU retargets the vector while its first message is on the way: the one who commits sees to
/// the second as well.
#[test]
fn what_is_wanted_during_a_commit_is_committed_after_it() {
    let vm = Arc::new(Recorder::default());
    let routing = RoutingTable::new(vm.clone()).unwrap();
    let table = Table::builder(&routing).build().unwrap();
    table.set_control(true, false);
    vector(&table, 0).export().unwrap();
    program(&table, 0, 0x40);
    let (other, once) = (table.clone(), Once::new());
    vm.on_routes(move |_| {
        once.call_once(|| {
            set_mask(&other, 0, true);
            program(&other, 0, 0x41);
            set_mask(&other, 0, false);
        });
        Ok(())
    });
    set_mask(&table, 0, false);
    assert!(matches!(vector(&table, 0).state(), VectorState::Armed));
    let calls = vm.take();
    let [Call::Routes(_), Call::Routes(second), Call::Assign(..)] = calls.as_slice() else {
        panic!("{calls:?}");
    };
    assert!(format!("{second:?}").contains("65"), "{second:?}");
    vm.on_routes(|_| Ok(()));
}

/// Four vCPUs mask and unmask the same entries; afterwards vectors are what the entries say.
#[test]
fn the_last_write_counts() {
    for exported in [false, true] {
        let bench = Bench::new();
        let table = bench.enabled(4);
        for number in 0..4 {
            if exported {
                vector(&table, number).export().unwrap();
            }
            program(&table, number.into(), 0x40);
        }
        let rounds = if exported { 200 } else { 2000 };
        thread::scope(|scope| {
            for vcpu in 0..4_u64 {
                let table = &table;
                scope.spawn(move || {
                    for round in 0..rounds {
                        let number = (vcpu * 7 + round) % 4;
                        set_mask(table, number, (round + vcpu) % 3 == 0);
                        if round % 16 == vcpu {
                            table.set_control(true, round % 32 < 16);
                        }
                    }
                });
            }
        });
        for function_masked in [false, true] {
            table.set_control(true, function_masked);
            for number in 0..4_u16 {
                let masked = function_masked || read32(&table, u64::from(number) * 16 + 12) == 1;
                assert_eq!(vector(&table, number).is_masked(), masked);
                match vector(&table, number).state() {
                    VectorState::Masked => assert!(masked),
                    VectorState::Armed => assert!(exported && !masked),
                    VectorState::Open => assert!(!exported && !masked),
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}

/// One vCPU waits for a trigger that hangs in the machine, with the table's lock. Triggers of other
/// vectors, and of the same one, go on.
#[test]
fn triggers_do_not_take_the_tables_lock() {
    let (started, start) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let (started, released) = (Mutex::new(started), Mutex::new(released));
    let routing = RoutingTable::builder(Arc::new(Recorder::default()))
        .translate(move |message| {
            if message.data == 0x40 {
                let _ = started.lock().unwrap().send(());
                let _ = released.lock().unwrap().recv();
            }
            Some(message)
        })
        .build()
        .unwrap();
    let table = Table::builder(&routing).vectors(2).build().unwrap();
    table.set_control(true, false);
    for number in 0..2 {
        program(&table, number, 0x40 + number as u32);
        set_mask(&table, number, false);
    }
    thread::scope(|scope| {
        let hangs = scope.spawn(|| vector(&table, 0).trigger().unwrap());
        start.recv_timeout(PATIENCE).unwrap();
        let (sender, masker) = mpsc::channel();
        let masks = scope.spawn(|| {
            let sender = sender;
            sender.send(kvm_test::ThreadId::current().unwrap()).unwrap();
            set_mask(&table, 0, true);
        });
        masker
            .recv_timeout(PATIENCE)
            .unwrap()
            .wait_until_asleep()
            .unwrap();
        assert_eq!(vector(&table, 1).trigger().unwrap(), Triggered::Delivered);
        assert_eq!(vector(&table, 0).trigger().unwrap(), Triggered::Kept);
        assert!(!masks.is_finished(), "a trigger is in flight");
        drop(release);
        masks.join().unwrap();
        assert_eq!(hangs.join().unwrap(), Triggered::Delivered);
    });
    assert_eq!(pending(&table, 0), 1);
}

/// No trigger is lost while the function is masked and unmasked all the time.
#[test]
fn what_is_triggered_in_between_is_delivered() {
    let bench = Bench::new();
    let table = bench.enabled(2);
    program(&table, 0, 0x40);
    set_mask(&table, 0, false);
    for _ in 0..2000 {
        thread::scope(|scope| {
            scope.spawn(|| {
                table.set_control(true, true);
                table.set_control(true, false);
            });
            vector(&table, 0).trigger().unwrap();
        });
        assert_eq!(pending(&table, 0), 0);
        bench.expect(&[0x40]);
    }
}

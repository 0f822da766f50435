// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Guest accesses from several vCPUs, and triggers, at once.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, Once};
use std::thread;

use irq_routing::{Platform, RoutingTable};
use irqfd::msix::Table;
use irqfd::{Triggered, VectorState};
use kvm_test::{Call, Nothing, PATIENCE, Recorder, wait_until};
use notify_core::{
    Extension, IoEventFdRequest, IrqFdRequest, LineStatus, MsiMessage, MsiOutcome, RouteBuffer, Vm,
};

use super::{Bench, pending, program, read32, save, set_mask, vector};

/// A mask must not wait for the commit of another thread's unmask, nor must a read.
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
    // And unmasks it once more while that is under way.
    set_mask(&table, 0, false);
    assert!(matches!(vector(&table, 0).state(), VectorState::Armed));
}

#[test]
fn a_mask_bits_commit_holds_nobody_up() {
    holds_nobody_up(|table| {
        let _ = table.set_control(true, false);
        set_mask(table, 0, false);
    });
}

#[test]
fn a_functions_commit_holds_nobody_up() {
    holds_nobody_up(|table| {
        set_mask(table, 0, false);
        let _ = table.set_control(true, false);
    });
}

#[test]
fn the_commit_of_what_is_restored_holds_nobody_up() {
    holds_nobody_up(|table| {
        let bench = Bench::new();
        let saved = bench.enabled(2);
        set_mask(&saved, 0, false);
        table.restore(&save(&saved)).unwrap();
    });
}

/// Another vCPU retargets the vector while its first message is being committed: each commits its
/// own, and only the second one is armed.
#[test]
fn what_is_wanted_during_a_commit_is_committed_after_it() {
    let vm = Arc::new(Recorder::default());
    let routing = RoutingTable::new(vm.clone()).unwrap();
    let table = Table::builder(&routing).build().unwrap();
    let _ = table.set_control(true, false);
    vector(&table, 0).export().unwrap();
    program(&table, 0, 0x40);
    let (other, once) = (table.clone(), Once::new());
    let second = Arc::new(Mutex::new(None));
    let vcpu = Arc::clone(&second);
    vm.on_routes(move |_| {
        once.call_once(|| {
            let table = other.clone();
            let retargets = thread::spawn(move || {
                set_mask(&table, 0, true);
                program(&table, 0, 0x41);
                set_mask(&table, 0, false);
            });
            *vcpu.lock().unwrap() = Some(retargets);
            wait_until(|| vector(&other, 0).message().data == 0x41);
        });
        Ok(())
    });
    set_mask(&table, 0, false);
    let retargets = second.lock().unwrap().take().unwrap();
    retargets.join().unwrap();
    assert!(matches!(vector(&table, 0).state(), VectorState::Armed));
    let calls = vm.take();
    let [Call::Routes(_), Call::Routes(second), Call::Assign(..)] = calls.as_slice() else {
        panic!("{calls:?}");
    };
    assert!(format!("{second:?}").contains("data: 0x41"), "{second:?}");
    vm.on_routes(|_| Ok(()));
}

/// Four vCPUs mask and unmask the same entries; afterwards vectors agree with the entries.
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
                            let _ = table.set_control(true, round % 32 < 16);
                        }
                    }
                });
            }
        });
        for function_masked in [false, true] {
            let _ = table.set_control(true, function_masked);
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

/// A VM in which messages with data 0x40 hang.
#[derive(Debug)]
struct Hanging {
    started: Mutex<mpsc::Sender<()>>,
    released: Mutex<mpsc::Receiver<()>>,
}

impl Vm for Hanging {
    fn check_extension(&self, capability: Extension) -> io::Result<u32> {
        Nothing.check_extension(capability)
    }

    fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()> {
        Nothing.irqfd(request)
    }

    fn ioeventfd(&self, request: &IoEventFdRequest<'_>) -> io::Result<()> {
        Nothing.ioeventfd(request)
    }

    fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()> {
        Nothing.set_gsi_routing(table)
    }

    fn signal_msi(&self, message: &MsiMessage) -> io::Result<MsiOutcome> {
        if message.data == 0x40 {
            let _ = self.started.lock().unwrap().send(());
            let _ = self.released.lock().unwrap().recv();
        }
        Nothing.signal_msi(message)
    }

    fn irq_line_status(&self, gsi: u32, level: bool) -> io::Result<LineStatus> {
        Nothing.irq_line_status(gsi, level)
    }

    fn platform(&self) -> io::Result<Option<Platform>> {
        Nothing.platform()
    }
}

/// One vCPU waits for a trigger that hangs in the VM, with the table's lock. Triggers of other
/// vectors, and of the same one, go on, and so do the reads of what is enabled.
#[test]
fn triggers_do_not_take_the_tables_lock() {
    let (started, start) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let vm = Hanging {
        started: Mutex::new(started),
        released: Mutex::new(released),
    };
    let routing = RoutingTable::new(Arc::new(vm)).unwrap();
    let table = Table::builder(&routing).vectors(2).build().unwrap();
    let _ = table.set_control(true, false);
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
        assert!(table.is_enabled() && !super::is_function_masked(&table));
        assert_eq!(table.message_control(), 0x8001);
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
                let _ = table.set_control(true, true);
                let _ = table.set_control(true, false);
            });
            vector(&table, 0).trigger().unwrap();
        });
        assert_eq!(pending(&table, 0), 0);
        bench.expect(&[0x40]);
    }
}

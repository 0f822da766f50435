// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Stopping a vCPU from another thread.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use kvm_test::{PATIENCE, Trial, kvm};
use tiny_guest::{Asm, Emitted, Exit, Program, Slot, Vcpu};
use vmm_sys_util::signal::{Killable, SIGRTMIN};

use crate::support::{await_slot, finish, machine};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        kvm("stops_a_spinning_guest", || stops(spin)),
        kvm("stops_a_sleeping_guest", || stops(sleep)),
        kvm("stops_before_the_run", stops_before_the_run),
        kvm("stops_at_any_time", stops_at_any_time),
        kvm("runs_on_after_a_signal", runs_on_after_a_signal),
    ]
}

/// Never ends, but shows that it runs.
fn spin(asm: &mut Asm, alive: &Slot) -> Emitted {
    asm.repeat(u32::MAX, |asm| asm.increment(alive))
}

/// Never wakes up.
fn sleep(asm: &mut Asm, alive: &Slot) -> Emitted {
    asm.increment(alive)?;
    asm.sti()?;
    asm.hlt()
}

// Threads are not scoped here: where stopping does not work, a scope would wait forever.

fn stops(main: fn(&mut Asm, &Slot) -> Emitted) {
    let (machine, mut vcpu) = machine();
    let alive = machine.slot().unwrap();
    let program = Program::new(|asm| main(asm, &alive)).unwrap();
    vcpu.load(program).unwrap();
    let stopper = vcpu.stopper();
    let (done, stopped) = mpsc::channel();
    thread::spawn(move || {
        expect_stop(&mut vcpu);
        done.send(()).unwrap();
    });
    await_slot(&alive, 1);
    thread::sleep(Duration::from_millis(10)); // so that the sleeping guest sleeps
    thread::spawn(move || stopper.stop());
    assert!(stopped.recv_timeout(PATIENCE).is_ok());
    let then = alive.load().unwrap();
    thread::sleep(Duration::from_millis(10));
    assert_eq!(alive.load().unwrap(), then);
}

#[track_caller]
fn expect_stop(vcpu: &mut Vcpu) {
    let exit = vcpu.run().unwrap();
    assert!(matches!(exit, Exit::Stopped), "{exit:?}");
}

fn stops_before_the_run() {
    let (machine, mut vcpu) = machine();
    let slot = machine.slot().unwrap();
    let program = Program::new(|asm| asm.increment(&slot)).unwrap();
    vcpu.load(program).unwrap();
    vcpu.stopper().stop();
    vcpu.stopper().stop();
    expect_stop(&mut vcpu);
    assert_eq!(slot.load().unwrap(), 0);
    // One run was stopped, for both requests. The next is not.
    assert_eq!(finish(&mut vcpu), 0);
    assert_eq!(slot.load().unwrap(), 1);
}

/// Stops that come while the vCPU enters, runs, or exits.
fn stops_at_any_time() {
    const STOPS: u32 = 2000;
    let (machine, mut vcpu) = machine();
    let alive = machine.slot().unwrap();
    let program = Program::new(|asm| spin(asm, &alive)).unwrap();
    vcpu.load(program).unwrap();
    let stopper = vcpu.stopper();
    let (done, stopped) = mpsc::channel();
    thread::spawn(move || {
        for _ in 0..STOPS {
            expect_stop(&mut vcpu);
            done.send(()).unwrap();
        }
    });
    let (asked, ask) = mpsc::channel();
    thread::spawn(move || ask.iter().for_each(|()| stopper.stop()));
    for _ in 0..STOPS {
        asked.send(()).unwrap();
        assert!(stopped.recv_timeout(PATIENCE).is_ok(), "a stop was lost");
    }
}

/// Signals without a request to stop.
fn runs_on_after_a_signal() {
    let (machine, mut vcpu) = machine();
    let (alive, release) = (machine.slot().unwrap(), machine.slot().unwrap());
    let program = Program::new(|asm| {
        asm.increment(&alive)?;
        asm.spin_until(&release, 1)?;
        asm.finish(3)
    });
    vcpu.load(program.unwrap()).unwrap();
    let run = thread::spawn(move || finish(&mut vcpu));
    await_slot(&alive, 1);
    for _ in 0..100 {
        run.kill(SIGRTMIN()).unwrap();
        thread::sleep(Duration::from_micros(100));
    }
    assert!(!run.is_finished());
    release.store(1).unwrap();
    assert_eq!(run.join().unwrap(), 3);
}

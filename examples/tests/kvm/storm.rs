// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Signals at full speed. Interrupts may be merged then, so each signal first publishes a number,
//! and a handler that runs afterwards must see the last number. Kicks add up and are never merged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use ioeventfd::{Datamatch, IoAddress, IoEventFd, Width};
use irq_routing::{MsiMessage, RoutingTable};
use irqfd::IrqFd;
use kvm_test::{PATIENCE, Trial, kvm_x86};
use notify_core::KvmVm;
use tiny_guest::iced_x86::code_asm::{qword_ptr, rax};
use tiny_guest::layout::{DOORBELL, msi_address};
use tiny_guest::{Exit, Machine, Program, ROUND, Vcpu};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        kvm_x86("the_last_interrupt_of_a_storm_is_taken", last_interrupt),
        kvm_x86(
            "interrupts_follow_a_route_that_changes_all_the_time",
            changing_route,
        ),
        kvm_x86("kicks_of_a_storm_add_up", kicks_add_up),
    ]
}

const VECTORS: [u8; 2] = [0x40, 0x41];

/// Runs a guest to its end on another thread, while `host` does something.
fn run(vcpu: &mut Vcpu, host: impl FnOnce()) {
    let stopper = vcpu.stopper();
    thread::scope(|scope| {
        let (done, ended) = channel();
        let guest = scope.spawn(move || {
            let finished = matches!(vcpu.run().unwrap(), Exit::Finished(0));
            done.send(()).unwrap();
            finished
        });
        host();
        if ended.recv_timeout(PATIENCE).is_err() {
            stopper.stop();
        }
        assert!(guest.join().unwrap(), "the guest did not finish by itself");
    });
}

/// Signals so many times; with `changes`, the message changes meanwhile.
fn storm(signals: u64, changes: bool) {
    let (machine, mut vcpus) = Machine::builder().build().unwrap();
    let table = RoutingTable::new(Arc::new(KvmVm::try_from(machine.vm()).unwrap())).unwrap();
    let message = |vector: u8| MsiMessage::new(msi_address(0), vector.into());
    let irq = IrqFd::builder(table.lease_msi(message(VECTORS[0])).unwrap())
        .assign()
        .unwrap();

    let (published, seen) = (machine.slot().unwrap(), machine.slot().unwrap());
    let (taken, ready) = (machine.slot().unwrap(), machine.slot().unwrap());
    let mut program = Program::new(|asm| {
        asm.enable_lapic()?;
        asm.store(&ready, 1)?;
        asm.halt_until(&seen, signals)
    })
    .unwrap();
    for vector in VECTORS {
        let handler = program.handler(vector, |asm| {
            asm.mov(rax, qword_ptr(published.address()))?;
            asm.mov(qword_ptr(seen.address()), rax)?;
            asm.increment(&taken)
        });
        program = handler.unwrap();
    }
    vcpus[0].load(program).unwrap();

    let over = AtomicBool::new(false);
    run(&mut vcpus[0], || {
        // Until then the local APIC is disabled and refuses interrupts.
        while ready.load().unwrap() == 0 {
            thread::yield_now();
        }
        thread::scope(|scope| {
            scope.spawn(|| {
                for vector in VECTORS.into_iter().cycle() {
                    if over.load(Ordering::Relaxed) || !changes {
                        break;
                    }
                    let mut transaction = table.transaction();
                    transaction.route(irq.lease().unwrap(), message(vector));
                    transaction.commit().unwrap();
                }
            });
            for number in 1..=signals {
                published.store(number).unwrap();
                irq.notifier().notify().unwrap();
            }
            over.store(true, Ordering::Relaxed);
        });
    });
    assert_eq!(seen.load().unwrap(), signals);
    assert!((1..=signals).contains(&taken.load().unwrap()));
    assert!(
        !irq.notifier().is_signalled().unwrap(),
        "KVM took every signal"
    );
}

fn last_interrupt() {
    storm(200_000, false);
}

fn changing_route() {
    storm(100_000, true);
}

fn kicks_add_up() {
    const KICKS: u32 = 50_000;
    let (machine, mut vcpus) = Machine::builder().build().unwrap();
    let vm = Arc::new(KvmVm::try_from(machine.vm()).unwrap());
    let address = IoAddress::Mmio(DOORBELL);
    let bell = IoEventFd::builder(vm, address, Datamatch::Width(Width::W4))
        .assign()
        .unwrap();
    let sent = machine.slot().unwrap();
    let program = Program::new(|asm| {
        asm.repeat(KICKS, |asm| {
            asm.mmio_write32(DOORBELL, 7)?;
            asm.store(&sent, ROUND)
        })
    });
    vcpus[0].load(program.unwrap()).unwrap();
    let mut handled = 0;
    run(&mut vcpus[0], || {
        while handled < u64::from(KICKS) {
            match bell.notifier().wait(Some(PATIENCE)).unwrap() {
                Some(kicks) => handled += u64::from(kicks),
                None => break,
            }
        }
    });
    assert_eq!(sent.load().unwrap(), u64::from(KICKS));
    assert_eq!(handled, u64::from(KICKS));
    assert!(!bell.notifier().is_signalled().unwrap());
}

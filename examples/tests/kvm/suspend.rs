// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A real guest suspends its device and resumes it, by the recipe of the guide `irqfd::suspend`,
//! while it kicks and interrupts are pending: exact counts of looks and of interrupts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use ioeventfd::{Datamatch, IoAddress, IoEventFd};
use irq_routing::RoutingTable;
use irqfd::msix;
use kvm_test::{PATIENCE, Trial, kvm_x86, wait_until};
use notify_core::KvmVm;
use notify_core::dispatcher::Dispatcher;
use tiny_guest::layout::{DOORBELL, msi_address};
use tiny_guest::{Exit, Machine, Program, ROUND};

use recipe::{DRIVER_OK, Device, SUSPEND};

#[path = "../../../irqfd/tests/suspend/recipe.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the recipe is public, and used in part"
)]
mod recipe;

pub(crate) fn trials() -> Vec<Trial> {
    vec![kvm_x86(
        "a_guest_whose_device_is_suspended_is_owed_one_notification",
        suspended,
    )]
}

const ROUNDS: u32 = 200;
const KICKS: u32 = 3;
/// Of configuration changes, of a queue whose requests end late, and of the kicked queue.
const VECTORS: [u8; 3] = [0x40, 0x41, 0x42];
/// A register of the device: the guest writes its status to it.
const STATUS: u16 = 0x510;

fn suspended() {
    let (machine, mut vcpus) = Machine::builder().build().unwrap();
    let vm = Arc::new(KvmVm::try_from(machine.vm()).unwrap());
    let routing = RoutingTable::new(vm.clone()).unwrap();
    let table = msix::Table::builder(&routing).vectors(3).build().unwrap();
    assert!(table.set_control(true, false).is_empty());
    for (entry, vector) in (0..).zip(VECTORS) {
        let message = [msi_address(0), u64::from(vector)];
        for (word, value) in (0..).zip(message) {
            let dead = table.write(16 * entry + 8 * word, &value.to_le_bytes());
            assert!(dead.is_empty());
        }
    }
    let bell = IoEventFd::builder(vm, IoAddress::Mmio(DOORBELL), Datamatch::U32(7));
    let bell = bell.assign().unwrap();

    let dispatcher = Dispatcher::new().unwrap();
    let looks = Arc::new(AtomicU64::new(0));
    let (call, counted) = (table.vector(2).unwrap().clone(), Arc::clone(&looks));
    let handler = move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        call.trigger()?;
        Ok(())
    };
    let kick = bell.notifier();
    let token = dispatcher.handle().add(Arc::clone(kick), handler).unwrap();
    let mut device = Device {
        status: DRIVER_OK,
        dispatcher: dispatcher.handle(),
        queues: vec![(Arc::clone(kick), token)],
        table: table.clone(),
    };

    let slot = || machine.slot().unwrap();
    let (owed, go, over) = (slot(), slot(), slot());
    let taken = VECTORS.map(|_| slot());
    let mut program = Program::new(|asm| {
        asm.enable_lapic()?;
        asm.sti()?;
        asm.repeat(ROUNDS, |asm| {
            // The last kick before may still be in the notifier when the device is suspended.
            asm.mmio_write32(DOORBELL, 7)?;
            asm.port_write8(STATUS, DRIVER_OK | SUSPEND)?;
            for _ in 0..KICKS {
                asm.mmio_write32(DOORBELL, 7)?;
            }
            asm.store(&owed, ROUND)?;
            asm.spin_until(&go, ROUND)?;
            asm.port_write8(STATUS, DRIVER_OK | SUSPEND)?;
            asm.spin_until(&over, ROUND)
        })
    })
    .unwrap();
    for (vector, taken) in VECTORS.into_iter().zip(&taken) {
        program = program.handler(vector, |asm| asm.increment(taken)).unwrap();
    }
    vcpus[0].load(program).unwrap();

    let interrupts = || [0, 1, 2].map(|vector| taken[vector].load().unwrap());
    let looked = || looks.load(Ordering::SeqCst);
    let (vcpu, running) = (&mut vcpus[0], dispatcher.handle());
    let stopper = vcpu.stopper();
    let (told, statuses) = channel();
    thread::scope(|scope| {
        // If this thread fails, the other threads must end.
        let stop = Stop(|| {
            stopper.stop();
            running.stop().unwrap();
        });
        let dispatching = scope.spawn(|| dispatcher.run());
        let guest = scope.spawn(move || {
            loop {
                match vcpu.run().unwrap() {
                    Exit::PortWrite { port: STATUS, data } => {
                        device.write_status(data[0]);
                        told.send(device.status).unwrap();
                    }
                    exit => return matches!(exit, Exit::Finished(0)),
                }
            }
        });
        for round in 1..=u64::from(ROUNDS) {
            assert_eq!(statuses.recv_timeout(PATIENCE).unwrap(), SUSPEND);
            // The kick before the suspend was handled, or is still to be handled.
            let before = looked();
            wait_until(|| owed.load().unwrap() == round);
            for _ in 0..3 {
                table.vector(0).unwrap().trigger().unwrap();
                table.vector(1).unwrap().trigger().unwrap();
            }
            assert!(kick.is_signalled().unwrap());
            // The guest runs, with its interrupts on, and takes none.
            let delivered = [round - 1, round - 1, before];
            assert_eq!((looked(), interrupts()), (before, delivered));
            go.store(round).unwrap();
            assert_eq!(statuses.recv_timeout(PATIENCE).unwrap(), DRIVER_OK);
            wait_until(|| interrupts() == [round, round, before + 1]);
            assert_eq!(looked(), before + 1);
            over.store(round).unwrap();
        }
        assert!(guest.join().unwrap(), "the guest did not finish by itself");
        drop(stop);
        dispatching.join().unwrap().unwrap();
    });
    let rounds = u64::from(ROUNDS);
    let looks = looked();
    assert!((rounds..=2 * rounds).contains(&looks), "{looks}");
    assert_eq!(interrupts(), [rounds, rounds, looks]);
}

/// Does something when it is dropped.
struct Stop<F: Fn()>(F);

impl<F: Fn()> Drop for Stop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

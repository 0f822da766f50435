// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A virtio device that is suspended and resumed by the recipe of the guide `irqfd::suspend`: how
//! many looks at the queues, and how many interrupts. A real guest does it in `examples/tests/kvm`.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test fails by panicking; the recipe is public"
)]

#[path = "suspend/recipe.rs"]
mod recipe;

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use irq_routing::RoutingTable;
use irqfd::{ArmQueue, msix};
use kvm_test::PATIENCE;
use notify_core::dispatcher::{Dispatcher, Turn};
use notify_core::{Bus, EventNotifier, IoEventFdRequest, Vm};
use notify_sim::{CallKind, SimVm};
use recipe::{DRIVER_OK, Device, NEEDS_RESET, SUSPEND};

const DOORBELLS: u64 = 0xd000_0000;
const QUEUES: usize = 2;
/// The vector of configuration changes, before those of the queues.
const CONFIG: u16 = 0;

/// A device with a VM that counts injections, and a dispatcher that the test runs.
struct Bench {
    vm: Arc<SimVm>,
    dispatcher: Dispatcher,
    device: Device,
    looks: Arc<[AtomicU64; QUEUES]>,
    arm: Option<ArmQueue>,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| None)
    }

    fn with(arm: impl FnOnce(&RoutingTable) -> Option<ArmQueue>) -> Self {
        let vm = Arc::new(SimVm::builder().build());
        vm.enable_lapic(0);
        let routing = RoutingTable::new(vm.clone()).unwrap();
        let arm = arm(&routing);
        let mut builder = msix::Table::builder(&routing).vectors(1 + QUEUES);
        if let Some(arm) = &arm {
            builder = builder.queue(arm);
        }
        let table = builder.build().unwrap();
        assert!(table.set_control(true, false).is_empty());
        for number in 0..=QUEUES as u64 {
            assert!(
                table
                    .write(16 * number, &0xfee0_0000_u64.to_le_bytes())
                    .is_empty()
            );
            assert!(
                table
                    .write(16 * number + 8, &(0x40 + number).to_le_bytes())
                    .is_empty()
            );
        }
        let dispatcher = Dispatcher::new().unwrap();
        let looks: Arc<[AtomicU64; QUEUES]> = Arc::default();
        let queues = (0..QUEUES).map(|queue| {
            let kick = Arc::new(EventNotifier::new().unwrap());
            let address = DOORBELLS + 4 * queue as u64;
            let doorbell = IoEventFdRequest::assign(kick.as_fd(), Bus::Mmio, address, 4);
            vm.ioeventfd(&doorbell).unwrap();
            let call = table.vector(queue as u16 + 1).unwrap().clone();
            let looks = Arc::clone(&looks);
            let handler = move |_| {
                looks[queue].fetch_add(1, Ordering::SeqCst);
                call.trigger()?;
                Ok(())
            };
            let token = dispatcher.handle().add(Arc::clone(&kick), handler).unwrap();
            (kick, token)
        });
        let device = Device {
            status: DRIVER_OK,
            dispatcher: dispatcher.handle(),
            queues: queues.collect(),
            table,
        };
        Self {
            vm,
            dispatcher,
            device,
            looks,
            arm,
        }
    }

    /// The guest stores to a doorbell.
    #[track_caller]
    fn kick(&self, queue: usize) {
        let address = DOORBELLS + 4 * queue as u64;
        let written = self.vm.guest_write(Bus::Mmio, address, &[0; 4]);
        assert_eq!((written.signalled, written.exits.len()), (1, 0));
    }

    /// Device code triggers a vector.
    fn trigger(&self, vector: u16) {
        self.device.table.vector(vector).unwrap().trigger().unwrap();
    }

    fn suspend(&mut self) {
        self.device.write_status(DRIVER_OK | SUSPEND);
        assert_eq!(self.device.status, SUSPEND);
    }

    fn resume(&mut self) {
        self.device.write_status(DRIVER_OK | SUSPEND);
        assert_eq!(self.device.status, DRIVER_OK);
    }

    /// Runs everything that is ready. Each queue was looked at so often, in all.
    #[track_caller]
    fn expect_looks(&self, looks: [u64; QUEUES]) {
        while self.dispatcher.run_once(Some(Duration::ZERO)).unwrap() != Turn::TimedOut {}
        let counted: Vec<_> = self
            .looks
            .iter()
            .map(|looks| looks.load(Ordering::SeqCst))
            .collect();
        assert_eq!(counted, looks);
    }

    /// Asserts that these vectors were delivered since the last call.
    #[track_caller]
    fn expect_interrupts(&self, vectors: &[u8]) {
        assert_eq!(self.vm.pending_vectors(0), vectors);
        self.vm.clear_vectors(0);
    }
}

/// The vectors as device code has them: triggered by the VMM's own code, or by a notifier, as vhost
/// does.
fn each_kind(test: impl Fn(Bench, &dyn Fn(&Bench, u16))) {
    test(Bench::new(), &|bench, vector| bench.trigger(vector));
    let exported = |bench: &Bench, vector: u16| {
        let vector = bench.device.table.vector(vector).unwrap();
        vector.export().unwrap().notify().unwrap();
    };
    test(Bench::new(), &exported);
    let queued = Bench::with(|routing| Some(ArmQueue::new(routing).unwrap()));
    test(queued, &|bench, vector| {
        exported(bench, vector);
        // The owner of the queue goes on while the device is suspended.
        let _ = bench.arm.as_ref().unwrap().run_pending();
    });
}

#[test]
fn nothing_is_owed_and_nothing_comes() {
    let mut bench = Bench::new();
    bench.kick(0);
    bench.expect_looks([1, 0]);
    bench.expect_interrupts(&[0x41]);
    for _ in 0..3 {
        bench.suspend();
        bench.expect_looks([1, 0]);
        bench.resume();
        bench.expect_looks([1, 0]);
        bench.expect_interrupts(&[]);
    }
}

#[test]
fn a_kick_before_the_suspend_is_one_look_after_the_resume() {
    let mut bench = Bench::new();
    bench.kick(1);
    bench.kick(1);
    bench.suspend();
    bench.expect_looks([0, 0]);
    bench.expect_interrupts(&[]);
    bench.resume();
    bench.expect_looks([0, 1]);
    bench.expect_interrupts(&[0x42]);
    bench.expect_looks([0, 1]);
    bench.expect_interrupts(&[]);
}

#[test]
fn kicks_while_it_is_suspended_are_one_look_for_each_queue() {
    let mut bench = Bench::new();
    bench.kick(0);
    bench.suspend();
    for _ in 0..3 {
        (0..QUEUES).for_each(|queue| bench.kick(queue));
        bench.expect_looks([0, 0]);
    }
    bench.expect_interrupts(&[]);
    bench.resume();
    bench.expect_looks([1, 1]);
    bench.expect_interrupts(&[0x41, 0x42]);
    // It continues as if it had not been suspended.
    bench.kick(0);
    bench.expect_looks([2, 1]);
    bench.expect_interrupts(&[0x41]);
}

#[test]
fn triggers_while_it_is_suspended_are_one_interrupt_for_each_vector() {
    each_kind(|mut bench, call| {
        // Armed once before, so that the pause has something to deassign.
        call(&bench, CONFIG);
        call(&bench, 1);
        bench.expect_interrupts(&[0x40, 0x41]);
        bench.suspend();
        for _ in 0..3 {
            call(&bench, CONFIG);
            call(&bench, 1);
        }
        bench.expect_interrupts(&[]);
        bench.resume();
        if let Some(arm) = &bench.arm {
            assert!(arm.run_pending().failed.is_empty());
        }
        bench.expect_interrupts(&[0x40, 0x41]);
        bench.expect_looks([0, 0]);
        bench.expect_interrupts(&[]);
        call(&bench, 1);
        bench.expect_interrupts(&[0x41]);
    });
}

/// Two interrupts of a vector would merge where they are not taken, so the messages are counted.
#[test]
fn what_is_owed_is_one_message_for_each_vector() {
    let mut bench = Bench::new();
    bench.suspend();
    for _ in 0..3 {
        [CONFIG, 1]
            .into_iter()
            .for_each(|vector| bench.trigger(vector));
        bench.kick(1);
    }
    bench.vm.reset_calls();
    bench.expect_looks([0, 0]);
    assert_eq!(bench.vm.total_calls(), 0);
    bench.resume();
    assert_eq!(bench.vm.calls(CallKind::SignalMsi), 2);
    bench.expect_looks([0, 1]);
    assert_eq!(bench.vm.calls(CallKind::SignalMsi), 3);
    bench.expect_interrupts(&[0x40, 0x41, 0x42]);
}

/// A masked vector that was triggered before stays pending, even if the guest unmasks it meanwhile.
#[test]
fn an_unmask_while_it_is_suspended_delivers_after_the_resume() {
    let mut bench = Bench::new();
    let mask = |bench: &Bench, masked: u32| {
        assert!(
            bench
                .device
                .table
                .write(16 + 12, &masked.to_le_bytes())
                .is_empty()
        );
    };
    mask(&bench, 1);
    bench.trigger(1);
    bench.suspend();
    mask(&bench, 0);
    bench.expect_interrupts(&[]);
    mask(&bench, 1);
    mask(&bench, 0);
    bench.expect_interrupts(&[]);
    bench.resume();
    bench.expect_interrupts(&[0x41]);
}

/// The suspend waits for a running handler, whose interrupt comes before the device shows SUSPEND.
#[test]
fn a_request_that_is_being_handled_ends_before_the_device_is_suspended() {
    let mut bench = Bench::new();
    let (kick, token) = bench.device.queues[0].clone();
    bench.device.dispatcher.remove(token).unwrap();
    let (began, begun) = channel();
    let (go, gate) = channel();
    let gate = Mutex::new(gate);
    let call = bench.device.table.vector(1).unwrap().clone();
    let handler = move |_| {
        began.send(())?;
        gate.lock().unwrap().recv_timeout(PATIENCE)?;
        call.trigger()?;
        Ok(())
    };
    let token = bench
        .device
        .dispatcher
        .add(Arc::clone(&kick), handler)
        .unwrap();
    bench.device.queues[0] = (kick, token);
    bench.kick(0);
    let Bench {
        vm,
        dispatcher,
        mut device,
        ..
    } = bench;
    thread::scope(|scope| {
        let running = scope.spawn(|| dispatcher.run_once(Some(PATIENCE)).unwrap());
        begun.recv_timeout(PATIENCE).unwrap();
        let suspending = scope.spawn(move || {
            device.write_status(DRIVER_OK | SUSPEND);
            device
        });
        go.send(()).unwrap();
        let device = suspending.join().unwrap();
        assert_eq!(device.status, SUSPEND);
        assert_eq!(vm.pending_vectors(0), [0x41]);
        assert_eq!(running.join().unwrap(), Turn::Worked(1));
    });
}

#[test]
fn what_fails_needs_a_reset_and_what_is_not_asked_changes_nothing() {
    let mut bench = Bench::new();
    bench.device.write_status(DRIVER_OK);
    assert_eq!(bench.device.status, DRIVER_OK);
    bench.device.status = 3;
    bench.device.write_status(3 | SUSPEND);
    assert_eq!(bench.device.status, 3, "it is not initialised");
    bench.device.status = DRIVER_OK;
    let (_, token) = bench.device.queues[1];
    bench.device.dispatcher.remove(token).unwrap();
    bench.device.write_status(DRIVER_OK | SUSPEND);
    assert_eq!(bench.device.status, DRIVER_OK | NEEDS_RESET);
}

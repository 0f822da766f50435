// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What panics, races and retries must not leave behind: a vector without an owner, or an outdated
//! state.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use irq_routing::{MsiMessage, Platform, RoutingTable, Wiring};
use irqfd::{ArmQueue, Triggered, msi};
use kvm_test::wait_until;
use notify_core::EventNotifier;
use notify_sim::CallKind;

use super::queue::is_readable;
use super::{Machine, expect_state, exported, guilty, internal, message, queued, table};

type Ends = (Sender<()>, Receiver<()>);

/// A translation that adds a number to the data, and stops at the next message on request; then it
/// panics on request.
#[derive(Default)]
struct Hook {
    offset: AtomicU32,
    stop: Mutex<Option<(u32, Ends)>>,
    panics: AtomicBool,
}

impl Hook {
    fn new() -> (Arc<Self>, Arc<Machine>, RoutingTable) {
        let (hook, vm) = (Arc::<Self>::default(), Arc::new(Machine::default()));
        let translate = Arc::clone(&hook);
        let table = RoutingTable::builder(vm.clone())
            .wiring(Wiring::none(Platform::X86))
            .translate(move |message| translate.translate(message))
            .build()
            .unwrap();
        (hook, vm, table)
    }

    fn translate(&self, mut message: MsiMessage) -> Option<MsiMessage> {
        message.data += self.offset.load(Ordering::SeqCst);
        let mut stop = self.stop.lock().unwrap();
        let ends = stop.take_if(|(data, _)| *data == message.data);
        drop(stop);
        if let Some((_, (tell, wait))) = ends {
            let _ = tell.send(());
            let _ = wait.recv();
            assert!(!self.panics.load(Ordering::SeqCst), "as ordered");
        }
        Some(message)
    }

    /// Stops at the next message with this data. Returns the receiver of that event, and the sender
    /// that releases it.
    fn stop_at(&self, data: u32) -> (Receiver<()>, Sender<()>) {
        let (tell, told) = channel();
        let (go, wait) = channel();
        *self.stop.lock().unwrap() = Some((data, (tell, wait)));
        (told, go)
    }
}

#[test]
fn a_vector_that_was_armed_at_the_second_try_is_not_dead() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, _) = queued(&queue, &table, 0x40);
    vector.unmask().unwrap();
    vm.sim.fail(CallKind::SetGsiRouting, 1, libc::ENOMEM);
    assert_eq!(queue.run_pending().failed.len(), 1);
    assert_eq!(vector.trigger().unwrap(), Triggered::Dead);
    assert_eq!(queue.run_pending().armed, 1);
    expect_state(&vector, "Armed");
    assert_eq!(vector.trigger().unwrap(), Triggered::Signalled);
}

#[test]
fn a_panic_while_a_notifier_is_exchanged_leaves_the_vector_dead() {
    for panics in 1..=2 {
        let (vm, table) = table();
        let (vector, _) = exported(&table, 0x40);
        vector.unmask().unwrap();
        let new = Arc::new(EventNotifier::new().unwrap());
        for _ in 0..panics {
            vm.during_bind(|| panic!("as ordered"));
        }
        let exchange = || vector.replace_notifier(Arc::clone(&new));
        catch_unwind(AssertUnwindSafe(exchange)).unwrap_err();
        expect_state(&vector, "Dead(Panicked");
        assert_eq!(vector.trigger().unwrap(), Triggered::Dead);
        vm.during_bind(|| {});
        vector.mask();
        let _ = catch_unwind(AssertUnwindSafe(|| vector.unmask()));
        vector.mask();
        vector.unmask().unwrap();
        vm.expect(&[0x40]);
    }
}

/// A GSI that is bound as far as is known belongs to nothing else.
#[test]
fn a_gsi_is_kept_if_a_panic_may_have_left_an_irqfd_on_it() {
    let (vm, table) = table();
    let (vector, _) = exported(&table, 0x40);
    let machine = Arc::clone(&vm);
    vm.during_bind(move || {
        machine.sim.fail(CallKind::IrqFdDeassign, 1, libc::EIO);
        panic!("as ordered");
    });
    catch_unwind(AssertUnwindSafe(|| vector.unmask())).unwrap_err();
    let first = table.routes()[0].0;
    vector.mask();
    let _ = vector.unmask();
    assert_eq!(table.routes()[0].0, first, "its route stays");
    assert!(table.lease_exact(first.number()).is_err());
}

/// An irqfd that cannot be bound again when its message is let through is not armed.
#[test]
fn an_irqfd_that_does_not_come_back_is_no_armed_vector() {
    for has_queue in [false, true] {
        let (block, vm) = (Arc::<AtomicBool>::default(), Arc::new(Machine::default()));
        let blocks = Arc::clone(&block);
        let table = RoutingTable::builder(vm.clone())
            .wiring(Wiring::none(Platform::X86))
            .translate(move |message| (!blocks.load(Ordering::SeqCst)).then_some(message))
            .build()
            .unwrap();
        let queue = ArmQueue::new(&table).unwrap();
        let (vector, notifier) = match has_queue {
            true => queued(&queue, &table, 0x40),
            false => exported(&table, 0x40),
        };
        vector.unmask().unwrap();
        drop(queue.run_pending());
        for panics in [false, true] {
            block.store(true, Ordering::SeqCst);
            table.retranslate().unwrap();
            expect_state(&vector, "Blocked");
            block.store(false, Ordering::SeqCst);
            match panics {
                true => vm.during_bind(|| panic!("as ordered")),
                false => vm.sim.fail(CallKind::IrqFdAssign, 1, libc::ENOMEM),
            }
            table.retranslate().unwrap();
            expect_state(
                &vector,
                ["Dead(Arm(Refused", "Dead(Arm(Panicked"][usize::from(panics)],
            );
            assert_eq!(vector.trigger().unwrap(), Triggered::Dead);
            vm.expect(&[]);
            match has_queue {
                true => wait_until(|| is_readable(&queue)),
                false => vector.set_message(message(0x40)).unwrap(),
            }
            drop(queue.run_pending());
            expect_state(&vector, "Armed");
            vm.expect(&[0x40]);
            notifier.notify().unwrap();
            vm.expect(&[0x40]);
        }
    }
}

/// The old notifier did not come back; its replacement is bound before its vector sees it.
#[test]
fn what_is_told_of_an_irqfd_that_was_exchanged_concerns_no_other() {
    type Act = Box<dyn FnOnce() + Send>;
    let (block, vm) = (Arc::<AtomicBool>::default(), Arc::new(Machine::default()));
    let (blocks, act) = (Arc::clone(&block), Arc::new(Mutex::new(None::<Act>)));
    let acts = Arc::clone(&act);
    let table = RoutingTable::builder(vm.clone())
        .wiring(Wiring::none(Platform::X86))
        .translate(move |message| {
            if message.data == 0x30 {
                let act = acts.lock().unwrap().take();
                act.into_iter().for_each(|act| act());
            }
            (!blocks.load(Ordering::SeqCst)).then_some(message)
        })
        .build()
        .unwrap();
    // The vector sees it first.
    let internal = internal(&table, 0x30);
    internal.unmask().unwrap();
    let (vector, _) = exported(&table, 0x40);
    vector.unmask().unwrap();
    block.store(true, Ordering::SeqCst);
    table.retranslate().unwrap();
    block.store(false, Ordering::SeqCst);
    vm.sim.fail(CallKind::IrqFdAssign, 1, libc::ENOMEM);
    let new = Arc::new(EventNotifier::new().unwrap());
    let (other, inner) = (vector.clone(), Arc::clone(&new));
    let exchange = move || drop(other.replace_notifier(inner).unwrap());
    *act.lock().unwrap() = Some(Box::new(exchange));
    table.retranslate().unwrap();
    expect_state(&vector, "Armed");
    new.notify().unwrap();
    vm.expect(&[0x40]);
}

#[test]
fn a_refusal_ends_with_the_translation_that_was_refused() {
    let is_bad = Arc::new(AtomicBool::new(true));
    let (bad, vm) = (Arc::clone(&is_bad), Arc::new(Machine::default()));
    let table = RoutingTable::builder(vm.clone())
        .wiring(Wiring::none(Platform::X86))
        .translate(move |message| match bad.load(Ordering::SeqCst) {
            true => Some(guilty(message.data)),
            false => Some(message),
        })
        .build()
        .unwrap();
    let internal = internal(&table, 0x41);
    internal.unmask().unwrap();
    internal.trigger().unwrap_err();
    expect_state(&internal, "Dead(MessageRefused");
    is_bad.store(false, Ordering::SeqCst);
    table.retranslate().unwrap();
    expect_state(&internal, "Open");
    vm.expect(&[]);
}

/// Two accesses unmask many vectors of a device at the same time: each returns those of its own
/// that are dead.
#[test]
fn an_access_reports_its_own_vectors_alone() {
    let (hook, _vm, table) = Hook::new();
    let device = msi::Capability::builder(&table).vectors(8).build().unwrap();
    drop(device.write(0x4, &0x1_fee0_0000_u64.to_le_bytes()));
    drop(device.write(0x10, &0xff_u32.to_le_bytes()));
    drop(device.write(0xc, &0x40_u16.to_le_bytes()));
    drop(device.write(0x2, &0x31_u16.to_le_bytes()));
    device.vector(2).unwrap().trigger().unwrap();
    device.vector(4).unwrap().trigger().unwrap();
    let (told, go) = hook.stop_at(0x40);
    thread::scope(|scope| {
        let first = scope.spawn(|| device.write(0x10, &0xf8_u32.to_le_bytes()));
        told.recv().unwrap();
        let second = device.write(0x10, &0xc0_u32.to_le_bytes());
        go.send(()).unwrap();
        let numbers = [first.join().unwrap(), second].map(|dead| {
            let numbers = dead.iter().map(|dead| dead.number.unwrap());
            numbers.collect::<Vec<_>>()
        });
        assert_eq!(numbers, [vec![2], vec![4]]);
    });
}

#[test]
fn a_queue_whose_last_round_panics_does_not_panic() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let vectors = [0x40, 0x41].map(|data| queued(&queue, &table, data).0);
    vectors.iter().for_each(|vector| vector.unmask().unwrap());
    vm.during_bind(|| panic!("as ordered"));
    catch_unwind(AssertUnwindSafe(|| drop(queue))).unwrap();
    expect_state(&vectors[0], "Dead(Panicked");
    expect_state(&vectors[1], "Armed");
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Vectors of a table that translates messages.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use irq_routing::{KernelRoute, MsiMessage, Platform, RoutingTable, Wiring};
use irqfd::{IrqFd, Triggered, Vector, msix};
use kvm_test::{Call, Recorder, wait_until};
use notify_core::{EventFd, EventNotifier};

use super::{Machine, expect_state, exported, internal, message};

fn translating(
    translate: impl Fn(MsiMessage) -> Option<MsiMessage> + Send + Sync + 'static,
) -> (Arc<Machine>, RoutingTable) {
    let vm = Arc::new(Machine::default());
    let table = RoutingTable::builder(vm.clone())
        .wiring(Wiring::none(Platform::X86))
        .translate(translate)
        .build()
        .unwrap();
    (vm, table)
}

/// Adds a number to the data of each message, or blocks all messages.
struct Remap {
    offset: Arc<AtomicU32>,
    block: Arc<AtomicBool>,
}

impl Remap {
    fn new() -> (Self, Arc<Machine>, RoutingTable) {
        let (offset, block) = (Arc::<AtomicU32>::default(), Arc::<AtomicBool>::default());
        let (add, blocks) = (Arc::clone(&offset), Arc::clone(&block));
        let (vm, table) = translating(move |mut message| {
            message.data += add.load(Ordering::SeqCst);
            (!blocks.load(Ordering::SeqCst)).then_some(message)
        });
        (Self { offset, block }, vm, table)
    }

    fn set(&self, offset: u32, block: bool) {
        self.offset.store(offset, Ordering::SeqCst);
        self.block.store(block, Ordering::SeqCst);
    }
}

fn trigger(vectors: &[Vector]) {
    for vector in vectors {
        vector.trigger().unwrap();
    }
}

#[test]
fn messages_are_translated_when_vectors_are_opened_and_by_retranslate() {
    let (remap, vm, table) = Remap::new();
    let vectors = [internal(&table, 0x40), exported(&table, 0x41).0];
    remap.set(0x10, false);
    vectors.iter().for_each(|vector| vector.unmask().unwrap());
    trigger(&vectors);
    vm.expect(&[0x50, 0x51]);
    // Until `retranslate` is called, the old translation is in force.
    remap.set(0x20, false);
    trigger(&vectors);
    vm.expect(&[0x50, 0x51]);
    table.retranslate().unwrap();
    trigger(&vectors);
    vm.expect(&[0x60, 0x61]);
    assert_eq!(vectors[0].message(), message(0x40), "as the guest set it");
    // Masked vectors are translated when they are opened.
    vectors.iter().for_each(Vector::mask);
    remap.set(0x30, false);
    table.retranslate().unwrap();
    trigger(&vectors);
    vectors.iter().for_each(|vector| vector.unmask().unwrap());
    vm.expect(&[0x70, 0x71]);
}

#[test]
fn a_trigger_calls_no_hook() {
    let calls = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&calls);
    let (vm, table) = translating(move |message| {
        counter.fetch_add(1, Ordering::SeqCst);
        Some(message)
    });
    let vectors = [internal(&table, 0x40), exported(&table, 0x41).0];
    vectors.iter().for_each(|vector| vector.unmask().unwrap());
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    for _ in 0..3 {
        trigger(&vectors);
    }
    vectors.iter().for_each(Vector::mask);
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    drop(vm);
}

/// While an exported message is blocked there is no irqfd, and signals wait.
#[test]
fn nothing_is_armed_on_a_blocked_message() {
    let (remap, vm, table) = Remap::new();
    let (vector, notifier) = exported(&table, 0x40);
    remap.set(0, true);
    vector.unmask().unwrap();
    expect_state(&vector, "Blocked");
    notifier.notify().unwrap();
    vm.expect(&[]);
    assert!(vector.is_pending());
    remap.set(0x10, false);
    table.retranslate().unwrap();
    expect_state(&vector, "Armed");
    vm.expect(&[0x50]);
    // It may be masked and unmasked meanwhile, and get another message.
    remap.set(0, true);
    table.retranslate().unwrap();
    expect_state(&vector, "Blocked");
    vector.mask();
    vector.unmask().unwrap();
    expect_state(&vector, "Blocked");
    vector.set_message(message(0x44)).unwrap();
    notifier.notify().unwrap();
    vm.expect(&[]);
    remap.set(0, false);
    table.retranslate().unwrap();
    vm.expect(&[0x44]);
    // A peer fills the counter meanwhile: its signals are delivered, and a trigger empties it.
    remap.set(0, true);
    table.retranslate().unwrap();
    let eventfd: &EventFd = (*notifier).as_ref();
    eventfd.write(u64::MAX - 1).unwrap();
    remap.set(0, false);
    table.retranslate().unwrap();
    vm.expect(&[0x44]);
    vector.trigger().unwrap();
    vm.expect(&[0x44]);
    // A signal that a look has taken is delivered when the message is let through.
    remap.set(0, true);
    table.retranslate().unwrap();
    notifier.notify().unwrap();
    assert!(vector.is_pending() && !notifier.is_signalled().unwrap());
    remap.set(0, false);
    table.retranslate().unwrap();
    vm.expect(&[0x44]);
    assert!(!vector.is_pending());
    drop(vector);
    assert_eq!(table.leased(), 0);
}

#[test]
fn a_blocked_internal_message_goes_nowhere() {
    let (remap, vm, table) = Remap::new();
    let vector = internal(&table, 0x40);
    vector.unmask().unwrap();
    remap.set(0, true);
    table.retranslate().unwrap();
    assert_eq!(vector.trigger().unwrap(), Triggered::Blocked);
    remap.set(1, false);
    table.retranslate().unwrap();
    vm.expect(&[]);
    assert_eq!(vector.trigger().unwrap(), Triggered::Delivered);
    vm.expect(&[0x41]);
}

/// All calls in their order: no irqfd is ever on a GSI without a route.
#[test]
fn an_irqfd_is_taken_off_before_its_route() {
    let block = Arc::<AtomicBool>::default();
    let blocks = Arc::clone(&block);
    let vm = Arc::new(Recorder::default());
    let table = RoutingTable::builder(vm.clone())
        .wiring(Wiring::none(Platform::X86))
        .translate(move |message| (!blocks.load(Ordering::SeqCst)).then_some(message))
        .build()
        .unwrap();
    let device = msix::Table::builder(&table).vectors(2).build().unwrap();
    device
        .vectors()
        .iter()
        .for_each(|vector| drop(vector.export().unwrap()));
    drop(device.set_control(true, false));
    drop(device.write(8, &0x41_u64.to_le_bytes()));
    let irq = IrqFd::builder(table.lease_msi(message(0x50)).unwrap());
    let irq = irq.assign().unwrap();
    let (mut armed, mut routed) = (Vec::new(), Vec::new());
    let mut check = || {
        for call in vm.take() {
            match call {
                Call::Assign(_, gsi) | Call::AssignResample(_, gsi, _) => armed.push(gsi),
                Call::Deassign(_, gsi) => armed.retain(|other| *other != gsi),
                Call::Routes(entries) => {
                    routed = entries.iter().map(|entry| entry.gsi).collect();
                }
                _ => {}
            }
            assert!(
                armed.iter().all(|gsi| routed.contains(gsi)),
                "{armed:?} {routed:?}"
            );
        }
        armed.len()
    };
    assert_eq!(check(), 2);
    block.store(true, Ordering::SeqCst);
    table.retranslate().unwrap();
    assert_eq!(check(), 0);
    assert!(table.kernel_route(irq.gsi()) == KernelRoute::Blocked);
    // The guest opens another one, and masks the first.
    drop(device.write(24, &0x42_u64.to_le_bytes()));
    drop(device.write(12, &1_u32.to_le_bytes()));
    assert_eq!(check(), 0);
    // A failed commit restores what it has deassigned.
    block.store(false, Ordering::SeqCst);
    table.retranslate().unwrap();
    assert_eq!(check(), 2);
    block.store(true, Ordering::SeqCst);
    vm.on_routes(|_| Err(std::io::Error::from_raw_os_error(libc::ENOMEM)));
    table.retranslate().unwrap_err();
    vm.on_routes(|_| Ok(()));
    assert!(table.kernel_route(irq.gsi()) != KernelRoute::Blocked);
    vm.take();
    block.store(true, Ordering::SeqCst);
    table.retranslate().unwrap();
    let irq = irq.deassign().unwrap();
    drop(irq.assign().unwrap());
    drop(device);
    table.flush().unwrap();
}

type Ends = (Sender<()>, Receiver<()>);

/// A translation that stops at each message, until it is released.
fn stopping() -> (Arc<Machine>, RoutingTable, Arc<Mutex<Option<Ends>>>) {
    let stop = Arc::<Mutex<Option<Ends>>>::default();
    let stops = Arc::clone(&stop);
    let (vm, table) = translating(move |message| {
        let ends = stops.lock().unwrap().take();
        if let Some((tell, wait)) = ends {
            tell.send(()).unwrap();
            let _ = wait.recv();
        }
        Some(message)
    });
    (vm, table, stop)
}

/// The translation is under way for an unmask: other threads mask, trigger, and read meanwhile.
#[test]
fn no_lock_is_held_while_a_message_is_translated() {
    for exports in [false, true] {
        let (vm, table, stop) = stopping();
        let device = msix::Table::builder(&table).vectors(2).build().unwrap();
        drop(device.set_control(true, false));
        drop(device.write(0, &0xfee0_0000_u64.to_le_bytes()));
        let vector = device.vector(0).unwrap();
        if exports {
            vector.export().unwrap();
        }
        let (tell, told) = channel();
        let (go, wait) = channel();
        *stop.lock().unwrap() = Some((tell, wait));
        thread::scope(|scope| {
            let opens = scope.spawn(|| device.write(8, &0x40_u64.to_le_bytes()));
            told.recv().unwrap();
            expect_state(vector, "Arming");
            vector.trigger().unwrap();
            device.read(0, &mut [0; 4]);
            drop(device.write(12, &1_u32.to_le_bytes()));
            expect_state(vector, "Masked");
            assert!(vector.is_pending());
            go.send(()).unwrap();
            assert!(opens.join().unwrap().is_empty());
        });
        expect_state(vector, "Masked");
        vm.expect(&[]);
        drop(device.write(12, &0_u32.to_le_bytes()));
        vm.expect(&[0x40]);
    }
}

/// An IOMMU that checks whether the device may send messages at all, and takes a lock of its own.
#[test]
fn the_translation_may_ask_the_device() {
    let device = Arc::<OnceLock<msix::Table>>::default();
    let asked = Arc::clone(&device);
    let (vm, table) = translating(move |message| {
        let device = asked.get();
        device
            .is_none_or(|device| {
                device.read(0, &mut [0; 4]);
                device.is_enabled() && !device.vectors()[0].is_masked()
            })
            .then_some(message)
    });
    let built = msix::Table::builder(&table).vectors(1).build().unwrap();
    let device = device.get_or_init(|| built);
    drop(device.set_control(true, false));
    drop(device.write(8, &0x40_u64.to_le_bytes()));
    device.vectors()[0].trigger().unwrap();
    vm.expect(&[0x40]);
    device.vectors()[0].export().unwrap();
    device.vectors()[0].trigger().unwrap();
    vm.expect(&[0x40]);
    table.retranslate().unwrap();
}

/// A thread that opens has its translation, and is stopped before it opens: its translation is
/// outdated when `retranslate` returns.
#[test]
fn retranslate_is_a_barrier_for_openers() {
    let (offset, stop) = (
        Arc::<AtomicU32>::default(),
        Arc::<Mutex<Option<Ends>>>::default(),
    );
    let (add, stops) = (Arc::clone(&offset), Arc::clone(&stop));
    let (vm, table) = translating(move |mut message| {
        message.data += add.load(Ordering::SeqCst);
        let ends = stops.lock().unwrap().take();
        if let Some((tell, wait)) = ends {
            tell.send(()).unwrap();
            let _ = wait.recv();
        }
        Some(message)
    });
    let vector = internal(&table, 0x40);
    vector.trigger().unwrap();
    let (tell, told) = channel();
    let (go, wait) = channel();
    *stop.lock().unwrap() = Some((tell, wait));
    thread::scope(|scope| {
        let opens = scope.spawn(|| vector.unmask());
        told.recv().unwrap();
        offset.store(1, Ordering::SeqCst);
        table.retranslate().unwrap();
        vm.expect(&[0x41]);
        go.send(()).unwrap();
        opens.join().unwrap().unwrap();
    });
    vector.trigger().unwrap();
    vm.expect(&[0x41]);
}

/// A trigger in flight has the old translation, so `retranslate` waits for it.
#[test]
fn retranslate_waits_for_what_is_in_flight() {
    let (remap, vm, table) = Remap::new();
    let vector = internal(&table, 0x40);
    vector.unmask().unwrap();
    let (tell, told) = channel();
    let (go, wait) = channel();
    let (wait, tell) = (Mutex::new(wait), Mutex::new(tell));
    vm.during_signal(move || {
        tell.lock().unwrap().send(()).unwrap();
        let _ = wait.lock().unwrap().recv();
    });
    remap.set(1, false);
    thread::scope(|scope| {
        let triggers = scope.spawn(|| vector.trigger().unwrap());
        told.recv().unwrap();
        let (sender, thread_id) = channel();
        let table = &table;
        let retranslates = scope.spawn(move || {
            sender.send(kvm_test::ThreadId::current().unwrap()).unwrap();
            table.retranslate().unwrap();
        });
        thread_id.recv().unwrap().wait_until_asleep().unwrap();
        assert!(!retranslates.is_finished());
        go.send(()).unwrap();
        retranslates.join().unwrap();
        triggers.join().unwrap();
    });
    vector.trigger().unwrap();
    vm.expect(&[0x40, 0x41]);
}

#[test]
fn a_panic_of_the_translation_leaves_a_closed_vector_that_can_be_opened() {
    let panics = Arc::<AtomicBool>::default();
    let hook = Arc::clone(&panics);
    let (vm, table) = translating(move |message| {
        assert!(!hook.load(Ordering::SeqCst), "as ordered");
        Some(message)
    });
    let vectors = [internal(&table, 0x40), exported(&table, 0x41).0];
    for vector in &vectors {
        panics.store(true, Ordering::SeqCst);
        catch_unwind(AssertUnwindSafe(|| vector.unmask())).unwrap_err();
        expect_state(vector, "Dead(Panicked");
        panics.store(false, Ordering::SeqCst);
        vector.trigger().unwrap();
        vector.mask();
        vector.unmask().unwrap();
    }
    vm.expect(&[0x40, 0x41]);
    // And of `retranslate`: no old translation of an internal vector stays in force.
    panics.store(true, Ordering::SeqCst);
    catch_unwind(AssertUnwindSafe(|| table.retranslate())).unwrap_err();
    expect_state(&vectors[0], "Dead(Panicked");
    vectors[0].trigger().unwrap();
    panics.store(false, Ordering::SeqCst);
    table.retranslate().unwrap();
    vm.expect(&[0x40]);
}

#[test]
fn what_is_dropped_is_not_told_any_more() {
    let (remap, _vm, table) = Remap::new();
    let (vector, notifier) = exported(&table, 0x40);
    vector.unmask().unwrap();
    drop(vector);
    assert_eq!(Arc::strong_count(&notifier), 1);
    remap.set(0, true);
    table.retranslate().unwrap();
    let irq = IrqFd::builder(table.lease_msi(message(1)).unwrap());
    let irq = irq.notifier(notifier).assign().unwrap();
    assert!(table.kernel_route(irq.gsi()) == KernelRoute::Blocked);
    let notifier: Arc<EventNotifier> = Arc::clone(irq.notifier());
    drop(irq);
    wait_until(|| Arc::strong_count(&notifier) == 1);
}

/// Its translation has panicked, and the next one does not.
#[test]
fn a_vector_that_is_translated_anew_is_dead_no_more() {
    let panics = Arc::new(AtomicBool::new(true));
    let hook = Arc::clone(&panics);
    let (vm, table) = translating(move |message| {
        assert!(!hook.load(Ordering::SeqCst), "as ordered");
        Some(message)
    });
    let vector = internal(&table, 0x40);
    catch_unwind(AssertUnwindSafe(|| vector.unmask())).unwrap_err();
    assert_eq!(vector.trigger().unwrap(), Triggered::Dead);
    panics.store(false, Ordering::SeqCst);
    table.retranslate().unwrap();
    vm.expect(&[0x40]);
    vector.mask();
    vector.unmask().unwrap();
    assert_eq!(vector.trigger().unwrap(), Triggered::Delivered);
    vector.mask();
    assert_eq!(vector.trigger().unwrap(), Triggered::Kept);
}

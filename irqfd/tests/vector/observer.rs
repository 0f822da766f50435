// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The calls of an observer for vectors: how often, for which vector, and with no lock held.

use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use irq_routing::{ObservedVector, Observer, Platform, RoutingTable, Wiring};
use irqfd::{ArmQueue, IrqFdError, ResumeBatch, Vector, VectorError, VectorHandle, msix};
use kvm_test::wait_until;
use notify_sim::{CallKind, SimVm};

use super::{guilty, message};

#[derive(Debug, Default)]
struct Events {
    events: Mutex<Vec<(String, Event)>>,
    /// The objects whose locks must not be held.
    watched: OnceLock<VectorHandle>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Opened,
    Delivered,
    Refused(&'static str),
}

use Event::{Delivered, Opened, Refused};

impl Events {
    fn add(&self, vector: &ObservedVector<'_>, event: Event) {
        if let Some(watched) = self.watched.get().cloned() {
            let other = thread::spawn(move || watched.state());
            wait_until(|| other.is_finished());
        }
        let name = vector.name.unwrap_or_default();
        let number = vector.number.map(|number| format!(" {number}"));
        let name = format!("{name}{}", number.unwrap_or_default());
        self.events.lock().unwrap().push((name, event));
    }

    #[track_caller]
    fn expect(&self, events: &[Event]) {
        let taken = std::mem::take(&mut *self.events.lock().unwrap());
        let taken: Vec<_> = taken.into_iter().map(|(_, event)| event).collect();
        assert_eq!(taken, events);
    }

    #[track_caller]
    fn expect_of(&self, events: &[(&str, Event)]) {
        let taken = std::mem::take(&mut *self.events.lock().unwrap());
        let taken: Vec<_> = taken
            .iter()
            .map(|(name, event)| (&**name, *event))
            .collect();
        assert_eq!(taken, events);
    }
}

impl Observer for Events {
    fn vector_opened(&self, vector: &ObservedVector<'_>) {
        self.add(vector, Opened);
    }

    fn vector_delivered(&self, vector: &ObservedVector<'_>) {
        self.add(vector, Delivered);
    }

    fn vector_refused(
        &self,
        vector: &ObservedVector<'_>,
        reason: &(dyn std::error::Error + 'static),
    ) {
        let reason = match reason.downcast_ref() {
            Some(VectorError::MessageRefused { .. }) => "Signal",
            Some(VectorError::Route { .. }) => "Commit",
            Some(VectorError::Arm(IrqFdError::Refused { .. })) => "Assign",
            Some(VectorError::NoGsi { .. }) => "Lease",
            other => panic!("{other:?}"),
        };
        self.add(vector, Refused(reason));
    }
}

fn observed() -> (Arc<SimVm>, RoutingTable, Arc<Events>) {
    let vm = Arc::new(SimVm::builder().build());
    vm.enable_lapic(0);
    vm.enable_x2apic_ids();
    let events = Arc::new(Events::default());
    let table = RoutingTable::builder(vm.clone()).wiring(Wiring::none(Platform::X86));
    let table = table.observer(events.clone()).build().unwrap();
    (vm, table, events)
}

/// A masked vector with a message, whose lock is checked in each event.
fn vector(table: &RoutingTable, events: &Events, private: bool) -> Vector {
    let builder = Vector::builder(table).name("net");
    let vector = builder.private_irqfd(private).build().unwrap();
    vector.set_message(message(0x40)).unwrap();
    let _ = events.watched.set(vector.handle().clone());
    vector
}

#[test]
fn each_unmask_opens_and_a_kept_trigger_is_delivered() {
    for private in [false, true] {
        let (_vm, table, events) = observed();
        let vector = vector(&table, &events, private);
        events.expect(&[]);
        vector.unmask().unwrap();
        events.expect_of(&[("net", Opened)]);
        vector.trigger().unwrap();
        vector.unmask().unwrap();
        events.expect(&[]);
        vector.mask();
        vector.trigger().unwrap();
        vector.trigger().unwrap();
        events.expect(&[]);
        vector.unmask().unwrap();
        events.expect_of(&[("net", Opened), ("net", Delivered)]);
        vector.pause();
        vector.trigger().unwrap();
        vector.resume().unwrap();
        events.expect(&[Opened, Delivered]);
        vector.disable();
        vector.enable().unwrap();
        events.expect(&[Opened]);
    }
}

#[test]
fn a_kept_trigger_that_no_local_apic_takes_is_not_delivered() {
    let (vm, table, events) = observed();
    let vector = vector(&table, &events, false);
    vm.disable_lapic(0);
    vector.trigger().unwrap();
    vector.unmask().unwrap();
    events.expect(&[Opened]);
}

#[test]
fn an_exported_vector_opens_and_its_signals_are_not_seen() {
    let (vm, table, events) = observed();
    let vector = vector(&table, &events, false);
    let notifier = vector.export().unwrap();
    notifier.notify().unwrap();
    vector.unmask().unwrap();
    assert_eq!(vm.pending_vectors(0), [0x40]);
    events.expect(&[Opened]);
}

#[test]
fn a_message_for_which_it_stays_armed_does_not_open_it() {
    let (_vm, table, events) = observed();
    let vector = vector(&table, &events, true);
    vector.unmask().unwrap();
    events.expect(&[Opened]);
    vector.set_message(message(0x41)).unwrap();
    events.expect(&[]);
    // A message for many local APICs: the vector is closed first.
    let many = irq_routing::MsiMessage::new(0xfeef_f00c, 0x42);
    vector.set_message(many).unwrap();
    events.expect(&[Opened]);
}

#[test]
fn a_route_or_an_irqfd_that_is_refused_is_an_event_for_each_attempt() {
    let (vm, table, events) = observed();
    let vector = vector(&table, &events, true);
    vector.set_message(guilty(1)).unwrap();
    for _ in 0..2 {
        vector.trigger().unwrap();
        assert!(vector.unmask().is_err());
        events.expect_of(&[("net", Refused("Commit"))]);
        vector.mask();
    }
    vector.set_message(message(1)).unwrap();
    vm.fail(CallKind::IrqFdAssign, 1, libc::EINVAL);
    assert!(vector.unmask().is_err());
    events.expect(&[Refused("Assign")]);
    vector.mask();
    vector.unmask().unwrap();
    events.expect(&[Opened, Delivered]);
}

#[test]
fn a_vector_without_a_gsi_is_refused() {
    let (_vm, table, events) = observed();
    let vector = vector(&table, &events, true);
    let all: Vec<_> = std::iter::from_fn(|| table.lease_if_free().ok()).collect();
    assert!(vector.unmask().is_err());
    events.expect(&[Refused("Lease")]);
    drop(all);
}

#[test]
fn each_trigger_that_the_kernel_refuses_is_an_event() {
    let (_vm, table, events) = observed();
    let vector = vector(&table, &events, false);
    vector.set_message(guilty(1)).unwrap();
    vector.trigger().unwrap();
    assert!(vector.unmask().is_err());
    events.expect(&[Opened, Refused("Signal")]);
    assert!(vector.trigger().is_err());
    assert!(vector.trigger().is_err());
    events.expect(&[Refused("Signal"), Refused("Signal")]);
    vector.set_message(message(1)).unwrap();
    vector.trigger().unwrap();
    events.expect(&[Opened]);
}

#[test]
fn a_queue_reports_in_its_round() {
    let (_vm, table, events) = observed();
    let queue = ArmQueue::new(&table).unwrap();
    let device = msix::Table::builder(&table)
        .vectors(3)
        .name("disk")
        .private_irqfd(true)
        .queue(&queue)
        .build()
        .unwrap();
    for entry in 0..3_u64 {
        let address = if entry == 1 {
            0x1_fee0_0000
        } else {
            0xfee0_0000_u64
        };
        let (place, data) = (16 * entry, 0x50 + entry);
        assert!(device.write(place, &address.to_le_bytes()).is_empty());
        assert!(device.write(place + 8, &data.to_le_bytes()).is_empty());
    }
    device.vector(2).unwrap().trigger().unwrap();
    assert!(device.set_control(true, false).is_empty());
    events.expect(&[]);
    let round = queue.run_pending();
    assert_eq!((round.armed, round.failed.len()), (2, 1));
    events.expect_of(&[
        ("disk 0", Opened),
        ("disk 2", Opened),
        ("disk 2", Delivered),
        ("disk 1", Refused("Commit")),
    ]);
    drop(queue);
    events.expect(&[]);
}

#[test]
fn a_batch_reports_internal_and_private_vectors() {
    let (_vm, table, events) = observed();
    let vectors = [true, false, false].map(|private| vector(&table, &events, private));
    vectors.iter().for_each(|vector| vector.unmask().unwrap());
    events.expect(&[Opened, Opened, Opened]);
    let mut batch = ResumeBatch::default();
    for vector in &vectors {
        vector.pause();
        vector.trigger().unwrap();
        vector.resume_in(&mut batch);
    }
    // That opens it: another change than that of the batch.
    vectors[1].set_message(message(0x41)).unwrap();
    events.expect(&[Opened, Delivered]);
    assert!(batch.run().is_empty());
    events.expect(&[Opened, Delivered, Opened, Delivered]);
}

/// The translation triggers the vector, whose gate is closed meanwhile, and gives it a message that
/// the kernel refuses.
#[test]
fn an_internal_vector_is_opened_anew_by_a_translation() {
    let vm = Arc::new(SimVm::builder().build());
    vm.enable_lapic(0);
    vm.enable_x2apic_ids();
    let events = Arc::new(Events::default());
    let triggered = Arc::new(OnceLock::<VectorHandle>::new());
    let triggers = Arc::clone(&triggered);
    let table = RoutingTable::builder(vm.clone())
        .wiring(Wiring::none(Platform::X86))
        .observer(events.clone())
        .translate(move |message| {
            let Some(vector) = triggers.get() else {
                return Some(message);
            };
            vector.trigger().unwrap();
            Some(guilty(message.data))
        })
        .build()
        .unwrap();
    let vector = vector(&table, &events, false);
    vector.unmask().unwrap();
    events.expect(&[Opened]);
    table.retranslate().unwrap();
    events.expect(&[Opened]);
    triggered.set(vector.handle().clone()).unwrap();
    table.retranslate().unwrap();
    events.expect(&[Opened, Refused("Signal")]);
}

#[derive(Debug)]
struct Panics;

impl Observer for Panics {
    fn vector_opened(&self, _: &ObservedVector<'_>) {
        panic!("a bug of the observer");
    }

    fn vector_delivered(&self, _: &ObservedVector<'_>) {
        panic!("a bug of the observer");
    }

    fn vector_refused(&self, _: &ObservedVector<'_>, _: &(dyn std::error::Error + 'static)) {
        panic!("a bug of the observer");
    }
}

#[test]
fn a_panic_of_the_observer_goes_no_further() {
    let vm = Arc::new(SimVm::builder().build());
    vm.enable_lapic(0);
    let table = RoutingTable::builder(vm.clone()).observer(Arc::new(Panics));
    let table = table.build().unwrap();
    for private in [false, true] {
        let builder = Vector::builder(&table).private_irqfd(private);
        let vector = builder.build().unwrap();
        vector.set_message(message(0x40)).unwrap();
        vector.trigger().unwrap();
        vector.unmask().unwrap();
        assert_eq!(vm.take_vector(0), Some(0x40));
        vm.lapic_eoi(0);
        vector.mask();
        vm.fail(CallKind::IrqFdAssign, 1, libc::EINVAL);
        vm.fail(CallKind::SignalMsi, 1, libc::EINVAL);
        vector.trigger().unwrap();
        assert!(vector.unmask().is_err());
        vector.mask();
        vector.trigger().unwrap();
        vm.clear_faults();
        vector.unmask().unwrap();
        assert_eq!(vm.take_vector(0), Some(0x40));
        vm.lapic_eoi(0);
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The calls of an observer for commits: how often, and with which numbers.

use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use irq_routing::{Committed, Error, IrqChip, Observer, Pins, Platform, RoutingTable, Wiring};
use kvm_test::wait_until;
use notify_sim::{CallKind, SimVm};

use crate::{EINVAL, message, pin};

#[derive(Debug, Default)]
struct Events {
    events: Mutex<Vec<Event>>,
    /// The table whose lock must not be held.
    table: OnceLock<RoutingTable>,
}

#[derive(Debug, PartialEq, Eq)]
enum Event {
    /// Entries, edits, ioctls.
    Committed(usize, usize, usize),
    Refused(&'static str),
}

use Event::{Committed as Took, Refused};

impl Events {
    fn add(&self, event: Event) {
        if let Some(table) = self.table.get().cloned() {
            let other = thread::spawn(move || table.leased());
            wait_until(|| other.is_finished());
        }
        self.events.lock().unwrap().push(event);
    }

    #[track_caller]
    fn expect(&self, events: &[Event]) {
        assert_eq!(std::mem::take(&mut *self.events.lock().unwrap()), events);
    }
}

impl Observer for Events {
    fn committed(&self, commit: &Committed) {
        self.add(Took(commit.entries, commit.edits, commit.ioctls));
    }

    fn commit_refused(&self, error: &Error) {
        self.add(Refused(match error {
            Error::Refused { .. } => "Refused",
            Error::NotLeased { .. } => "NotLeased",
            Error::Untranslated { .. } => "Untranslated",
            Error::RouteHeld { .. } => "RouteHeld",
            other => panic!("{other:?}"),
        }));
    }
}

fn observed() -> (Arc<SimVm>, RoutingTable, Arc<Events>) {
    let vm = Arc::new(SimVm::builder().build());
    let events = Arc::new(Events::default());
    let table = RoutingTable::builder(vm.clone()).wiring(Wiring::none(Platform::X86));
    let table = table.observer(events.clone()).build().unwrap();
    events.table.set(table.clone()).unwrap();
    (vm, table, events)
}

#[test]
fn a_commit_is_one_event_with_its_entries_and_edits() {
    let (_vm, table, events) = observed();
    let lease = table.lease_msi(message(1)).unwrap();
    events.expect(&[Took(1, 1, 1)]);

    let pins = [IrqChip::PicMaster, IrqChip::IoApic].map(|chip| pin(chip, 4));
    let other = table.lease().unwrap();
    let mut transaction = table.transaction();
    transaction
        .route(&other, message(2))
        .route(&lease, message(3));
    transaction.wire(table.gsi(4).unwrap(), Pins::new(pins).unwrap());
    transaction.commit().unwrap();
    // The wired GSI has an entry for each of its two pins.
    events.expect(&[Took(4, 3, 1)]);

    drop(other);
    events.expect(&[]);
    table.flush().unwrap();
    events.expect(&[Took(3, 0, 1)]);
    table.recommit().unwrap();
    events.expect(&[Took(3, 0, 1)]);
}

#[test]
fn a_commit_that_changes_nothing_is_none() {
    let (vm, table, events) = observed();
    let lease = table.lease_msi(message(1)).unwrap();
    events.expect(&[Took(1, 1, 1)]);
    lease.set_route(message(1)).unwrap();
    table.flush().unwrap();
    assert_eq!(vm.calls(CallKind::SetGsiRouting), 1);
    events.expect(&[]);
}

#[test]
fn a_refusal_is_one_event_with_the_error_of_the_caller() {
    let (vm, table, events) = observed();
    let lease = table.lease_msi(message(1)).unwrap();
    events.expect(&[Took(1, 1, 1)]);
    vm.fail(CallKind::SetGsiRouting, 1, EINVAL);
    assert!(lease.set_route(message(2)).is_err());
    events.expect(&[Refused("Refused")]);

    // Refused by the table, without a call of the kernel.
    let mut transaction = table.transaction();
    transaction.route(&lease, message(3));
    drop(lease);
    let error = transaction.commit().unwrap_err().error;
    assert!(matches!(error, Error::NotLeased { .. }));
    events.expect(&[Refused("NotLeased")]);
}

#[test]
fn each_edit_that_is_refused_is_one_event() {
    let (vm, table, events) = observed();
    vm.enable_x2apic_ids();
    let leases: Vec<_> = (0..4).map(|_| table.lease().unwrap()).collect();
    // A low byte in the upper half of the address is refused where APIC ids have 32 bits.
    let address = |index: usize| {
        if index < 2 {
            0xfee0_0000
        } else {
            1 << 32 | 0xfee0_0000
        }
    };
    let edits = leases.iter().enumerate().map(|(index, lease)| {
        let message = irq_routing::MsiMessage::new(address(index), 0x40);
        lease.edit(message)
    });
    let mut outcomes = 0;
    table.commit_each(edits, |_, _| outcomes += 1);
    assert_eq!(outcomes, 4);
    let ioctls = usize::try_from(vm.calls(CallKind::SetGsiRouting)).unwrap();
    events.expect(&[Took(2, 2, ioctls), Refused("Refused"), Refused("Refused")]);
}

#[test]
fn a_translation_that_is_refused_is_a_commit_and_a_refusal() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let vm = Arc::new(SimVm::builder().build());
    vm.enable_x2apic_ids();
    let events = Arc::new(Events::default());
    let bad = Arc::new(AtomicBool::new(false));
    let refused = Arc::clone(&bad);
    let table = RoutingTable::builder(vm.clone())
        .wiring(Wiring::none(Platform::X86))
        .observer(events.clone())
        .translate(move |message| {
            let is_bad = refused.load(Ordering::Relaxed) && message.data == 1;
            let address = message.address | u64::from(is_bad) << 32;
            Some(irq_routing::MsiMessage::new(address, message.data))
        })
        .build()
        .unwrap();
    let leases = [1, 2].map(|data| table.lease_msi(message(data)).unwrap());
    events.expect(&[Took(1, 1, 1), Took(2, 1, 1)]);
    vm.reset_calls();
    bad.store(true, Ordering::Relaxed);
    assert!(table.retranslate().is_err());
    let ioctls = usize::try_from(vm.calls(CallKind::SetGsiRouting)).unwrap();
    events.expect(&[Took(1, 2, ioctls), Refused("Untranslated")]);
    drop(leases);
}

#[derive(Debug)]
struct Panics;

impl Observer for Panics {
    fn committed(&self, _: &Committed) {
        panic!("a bug of the observer");
    }

    fn commit_refused(&self, _: &Error) {
        panic!("a bug of the observer");
    }
}

#[test]
fn a_panic_of_the_observer_goes_no_further() {
    let vm = Arc::new(SimVm::builder().build());
    let table = RoutingTable::builder(vm.clone()).observer(Arc::new(Panics));
    let table = table.build().unwrap();
    let lease = table.lease_msi(message(1)).unwrap();
    assert_eq!(lease.route(), Some(message(1).into()));
    vm.fail(CallKind::SetGsiRouting, 1, EINVAL);
    let error = lease.set_route(message(2)).unwrap_err();
    assert!(matches!(error, Error::Refused { .. }));
    vm.fail(CallKind::SetGsiRouting, 1, EINVAL);
    table.commit_each([lease.edit(message(3))], |_, _| {});
    lease.set_route(message(4)).unwrap();
    assert_eq!(lease.route(), Some(message(4).into()));
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The x86 cases, with a local APIC that shows delivered interrupts.

use std::sync::Arc;

use irq_routing::{GsiLease, MsiMessage, RoutingTable};
use irqfd::{IrqFd, IrqFdError};
use kvm_test::{Machine, Trial, kvm, open_fds, os_text, wait_until};
use notify_core::{EventFd, EventNotifier, Vm};

/// From `include/uapi/linux/eventfd.h`.
const EFD_SEMAPHORE: i32 = 1;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        kvm(
            "signals_arrive_until_it_is_dropped",
            signals_arrive_until_dropped,
        ),
        kvm("a_signal_that_was_there_is_delivered", signalled_before),
        kvm("a_counter_that_was_full_takes_signals_again", full_before),
        kvm("it_follows_its_route", follows_its_route),
        kvm("one_notifier_for_two_interrupts_is_refused", already_bound),
        kvm(
            "a_notifier_that_the_caller_dropped_still_disarms",
            caller_dropped_notifier,
        ),
        kvm("a_machine_without_irqchip_says_so", no_irqchip),
        kvm("a_retired_machine_says_so", retired),
        kvm("the_machine_stays_open_while_it_lives", machine_stays_open),
        kvm("a_failed_assignment_leaves_nothing_open", nothing_left_open),
        kvm(
            "adopted_semaphores_are_refused_where_the_kernel_tells",
            adopted_semaphore,
        ),
    ]
}

fn machine() -> (Machine, RoutingTable) {
    let machine = Machine::new().unwrap();
    let table = RoutingTable::new(machine.vm()).unwrap();
    (machine, table)
}

fn lease(table: &RoutingTable, vector: u32) -> GsiLease {
    table
        .lease_msi(MsiMessage::new(Machine::MSI_ADDRESS, vector))
        .unwrap()
}

#[track_caller]
fn expect_vectors(machine: &Machine, vectors: &[u8]) {
    assert_eq!(machine.delivered().unwrap(), vectors);
    machine.clear().unwrap();
}

fn signals_arrive_until_dropped() {
    let (machine, table) = machine();
    let irq = IrqFd::builder(lease(&table, 0x41)).assign().unwrap();
    let other = IrqFd::builder(lease(&table, 0x42)).assign().unwrap();
    let notifier = Arc::clone(irq.notifier());
    notifier.notify().unwrap();
    expect_vectors(&machine, &[0x41]);
    assert!(!notifier.is_signalled().unwrap(), "KVM takes the signal");

    drop(irq);
    notifier.notify().unwrap();
    expect_vectors(&machine, &[]);
    assert!(notifier.is_signalled().unwrap(), "nothing takes it now");
    other.notifier().notify().unwrap();
    expect_vectors(&machine, &[0x42]);
}

fn signalled_before() {
    let (machine, table) = machine();
    let notifier = Arc::new(EventNotifier::builder().initial(3).build().unwrap());
    let builder = IrqFd::builder(lease(&table, 0x41)).notifier(Arc::clone(&notifier));
    let irq = builder.assign().unwrap();
    assert!(!notifier.is_signalled().unwrap(), "KVM has taken it");
    // Deassigning it waits for the kernel's thread that delivers.
    let builder = irq.deassign().unwrap();
    expect_vectors(&machine, &[0x41]);
    drop(builder.assign().unwrap());
    expect_vectors(&machine, &[]);
}

/// A peer that holds the eventfd can fill it while it is not bound.
fn full_before() {
    let (machine, table) = machine();
    let notifier = Arc::new(EventNotifier::new().unwrap());
    let eventfd: &EventFd = (*notifier).as_ref();
    eventfd.write(u64::MAX - 1).unwrap();
    let builder = IrqFd::builder(lease(&table, 0x41)).notifier(Arc::clone(&notifier));
    let irq = builder.assign().unwrap();
    wait_until(|| !machine.delivered().unwrap().is_empty());
    expect_vectors(&machine, &[0x41]);
    notifier.notify().unwrap();
    expect_vectors(&machine, &[0x41]);
    drop(irq);
}

fn follows_its_route() {
    let (machine, table) = machine();
    let irq = IrqFd::builder(lease(&table, 0x41)).assign().unwrap();
    let mut transaction = table.transaction();
    let message = MsiMessage::new(Machine::MSI_ADDRESS, 0x55);
    transaction.route(irq.lease().unwrap(), message);
    transaction.commit().unwrap();
    irq.notifier().notify().unwrap();
    expect_vectors(&machine, &[0x55]);
}

fn already_bound() {
    let (machine, table) = machine();
    let irq = IrqFd::builder(lease(&table, 0x41)).assign().unwrap();
    let duplicate = Arc::new(irq.notifier().try_clone().unwrap());
    for notifier in [irq.notifier(), &duplicate] {
        let builder = IrqFd::builder(lease(&table, 0x42)).notifier(Arc::clone(notifier));
        let error = builder.assign().unwrap_err().error;
        assert!(matches!(error, IrqFdError::AlreadyBound { .. }));
        assert_eq!(
            error.to_string(),
            format!(
                "cannot bind a notifier to GSI 25: the notifier is bound to a GSI already; \
                 deassign it there first: {}",
                os_text(16)
            )
        );
    }
    irq.notifier().notify().unwrap();
    expect_vectors(&machine, &[0x41]);
}

fn caller_dropped_notifier() {
    let (_machine, table) = machine();
    let eventfd = EventFd::new(0).unwrap();
    let kept = eventfd.try_clone().unwrap();
    let notifier = Arc::new(EventNotifier::from(eventfd));
    let irq = IrqFd::builder(lease(&table, 0x41))
        .notifier(Arc::clone(&notifier))
        .assign()
        .unwrap();
    drop(notifier);
    let _takes_the_lowest_number = EventNotifier::new().unwrap();
    drop(irq);
    let notifier = Arc::new(EventNotifier::from(kept));
    let again = IrqFd::builder(lease(&table, 0x41)).notifier(notifier);
    drop(again.assign().unwrap());
}

fn no_irqchip() {
    let vm = Machine::without_irqchip().unwrap();
    let table = RoutingTable::new(vm).unwrap();
    let error = table.lease_msi(MsiMessage::new(0, 0)).unwrap_err();
    assert!(matches!(error, irq_routing::Error::NoIrqChip { .. }));
}

fn retired() {
    let (machine, table) = machine();
    let (one, two) = (lease(&table, 0x41), lease(&table, 0x42));
    let irq = IrqFd::builder(one).assign().unwrap();
    machine.vm().retire();
    let rejected = IrqFd::builder(two).assign().unwrap_err();
    assert!(matches!(rejected.error, IrqFdError::Retired { .. }));
    irq.notifier().notify().unwrap();
    expect_vectors(&machine, &[0x41]);
    drop(irq);
    assert_eq!(table.leased(), 1);
}

fn machine_stays_open() {
    let before = open_fds().unwrap();
    let (machine, table) = machine();
    let irq = IrqFd::builder(lease(&table, 0x41)).assign().unwrap();
    drop((machine, table));
    assert_eq!(open_fds().unwrap(), before + 2, "the VM and the notifier");
    irq.notifier().notify().unwrap();
    assert!(!irq.notifier().is_signalled().unwrap());
    drop(irq);
    assert_eq!(open_fds().unwrap(), before);
}

fn nothing_left_open() {
    let (_machine, table) = machine();
    let irq = IrqFd::builder(lease(&table, 0x41)).assign().unwrap();
    let before = open_fds().unwrap();
    for _ in 0..10 {
        let builder = IrqFd::builder(lease(&table, 0x42)).notifier(Arc::clone(irq.notifier()));
        assert!(builder.assign().is_err());
        assert!(IrqFd::builder(table.lease().unwrap()).assign().is_err());
    }
    assert_eq!(open_fds().unwrap(), before);
    assert_eq!(table.leased(), 1);
}

fn adopted_semaphore() {
    let (_machine, table) = machine();
    let eventfd = EventFd::new(EFD_SEMAPHORE).unwrap();
    let notifier = Arc::new(EventNotifier::from(eventfd));
    let known = notifier.mode() == notify_core::EventFdMode::Semaphore;
    let result = IrqFd::builder(lease(&table, 0x41))
        .notifier(notifier)
        .assign();
    assert_eq!(result.is_err(), known);
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The requests of an irqfd to its VM, and their order.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::ffi::{c_int, c_void};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use irq_routing::{IrqChip, MsiMessage, Pin, Platform, RoutingTable, Wiring};
use irqfd::{IrqFd, IrqFdError, IrqTarget};
use kvm_test::{Call, Recorder, os_text, signal_from_kernel};
use notify_core::EventNotifier;
use vmm_sys_util::signal::{Killable, register_signal_handler};

fn table() -> (Arc<Recorder>, RoutingTable) {
    let vm = Arc::new(Recorder::default());
    let table = RoutingTable::builder(vm.clone())
        .wiring(Wiring::none(Platform::X86))
        .build()
        .unwrap();
    (vm, table)
}

fn message() -> MsiMessage {
    MsiMessage::new(0xfee0_0000, 0x40)
}

#[test]
fn route_before_arm_and_disarm_before_the_gsi_is_free() {
    let (vm, table) = table();
    let irq = IrqFd::builder(table.lease_msi(message()).unwrap())
        .assign()
        .unwrap();
    let fd = irq.notifier().as_raw_fd();
    assert_eq!((irq.gsi().number(), table.leased()), (24, 1));
    drop(irq);
    assert_eq!(table.leased(), 0);
    table.flush().unwrap();
    let calls = vm.take();
    let [Call::Routes(first), arm, disarm, Call::Routes(last)] = calls.as_slice() else {
        panic!("{calls:?}");
    };
    assert_eq!((first.len(), last.len()), (1, 0));
    assert_eq!(*arm, Call::Assign(fd, 24));
    assert_eq!(*disarm, Call::Deassign(fd, 24));
}

#[test]
fn a_gsi_without_a_route_is_refused() {
    let (vm, table) = table();
    let notifier = Arc::new(EventNotifier::new().unwrap());
    let builder = IrqFd::builder(table.lease().unwrap()).notifier(Arc::clone(&notifier));
    let rejected = builder.assign().unwrap_err();
    assert!(matches!(rejected.error, IrqFdError::Route { .. }));
    assert!(vm.take().is_empty());

    // The rejected builder can be corrected and used.
    let (IrqTarget::Lease(lease), Some(notifier)) = rejected.value.into_parts() else {
        panic!("a lease and a notifier went in");
    };
    lease.set_route(message()).unwrap();
    let irq = IrqFd::builder(lease).notifier(Arc::clone(&notifier));
    let irq = irq.assign().unwrap();
    assert!(Arc::ptr_eq(irq.notifier(), &notifier));
}

#[test]
fn the_route_of_an_armed_irqfd_can_change_and_not_go() {
    let (_, table) = table();
    let irq = IrqFd::builder(table.lease_msi(message()).unwrap())
        .assign()
        .unwrap();
    let mut transaction = table.transaction();
    transaction.route(irq.lease().unwrap(), MsiMessage::new(0xfee0_1000, 1));
    transaction.commit().unwrap();
    let mut transaction = table.transaction();
    transaction.unroute(irq.lease().unwrap());
    let rejected = transaction.commit().unwrap_err();
    assert!(matches!(
        rejected.error,
        irq_routing::Error::RouteHeld { .. }
    ));
}

#[test]
fn a_semaphore_is_refused() {
    let (vm, table) = table();
    let lease = table.lease_msi(message()).unwrap();
    vm.take();
    let semaphore = EventNotifier::builder().semaphore(true).initial(3);
    let semaphore = Arc::new(semaphore.build().unwrap());
    let rejected = IrqFd::builder(lease)
        .notifier(Arc::clone(&semaphore))
        .assign()
        .unwrap_err();
    assert_eq!(
        rejected.to_string(),
        "cannot bind a notifier to GSI 24: it is in semaphore mode; create it without EFD_SEMAPHORE"
    );
    assert!(vm.take().is_empty());
    let left = std::iter::from_fn(|| semaphore.consume().unwrap());
    assert_eq!(left.count(), 3, "it keeps its signals");
}

#[test]
fn a_refused_assignment_gives_back_what_it_took() {
    let (vm, table) = table();
    let lease = table.lease_msi(message()).unwrap();
    vm.fail_after(0, 12);
    let rejected = IrqFd::builder(lease).assign().unwrap_err();
    assert!(
        matches!(rejected.error, IrqFdError::Refused { .. }),
        "{}",
        rejected.error
    );
    let (IrqTarget::Lease(lease), _) = rejected.value.into_parts() else {
        panic!("a lease went in");
    };
    let mut transaction = table.transaction();
    transaction.unroute(&lease);
    transaction.commit().unwrap();
    drop(lease);
    assert_eq!(table.leased(), 0);

    let line = table.lease_msi(message()).unwrap().into_line().unwrap();
    vm.fail_after(0, 12);
    let rejected = IrqFd::builder(line).assign().unwrap_err();
    assert!(matches!(rejected.value.into_parts().0, IrqTarget::Line(_)));
}

#[test]
fn wiring_is_shared_by_several() {
    let (vm, table) = table();
    let mut transaction = table.transaction();
    let four = table.gsi(4).unwrap();
    transaction.wire(four, Pin::new(IrqChip::IoApic, 4).unwrap());
    transaction.commit().unwrap();
    vm.take();
    let one = IrqFd::builder(table.line(4).unwrap()).assign().unwrap();
    let two = IrqFd::builder(table.line(4).unwrap()).assign().unwrap();
    assert!(one.lease().is_none());
    let calls: Vec<_> = [&one, &two]
        .map(|irq| Call::Assign(irq.notifier().as_raw_fd(), 4))
        .into();
    assert_eq!(vm.take(), calls);
    drop(one);
    let mut transaction = table.transaction();
    transaction.unwire(four);
    let rejected = transaction.commit().unwrap_err();
    drop(two);
    rejected.value.commit().unwrap();
}

#[test]
fn deassign_reports_and_gives_back() {
    let (vm, table) = table();
    let irq = IrqFd::builder(table.lease_msi(message()).unwrap())
        .assign()
        .unwrap();
    let notifier = Arc::clone(irq.notifier());
    vm.fail_after(0, 5);
    let rejected = irq.deassign().unwrap_err();
    assert_eq!(
        rejected.to_string(),
        format!("cannot unbind a notifier from GSI 24: {}", os_text(5))
    );
    vm.take();
    let builder = rejected.value.deassign().unwrap();
    assert_eq!(
        vm.take(),
        [Call::Deassign(notifier.as_raw_fd(), 24)],
        "once"
    );
    let again = builder.assign().unwrap();
    assert!(Arc::ptr_eq(again.notifier(), &notifier));
    assert!(again.lease().is_some());
    drop(again);
    assert_eq!(table.leased(), 0);
}

#[test]
fn what_was_disarmed_can_be_taken_apart_and_unrouted() {
    let (_, table) = table();
    let irq = IrqFd::builder(table.lease_msi(message()).unwrap())
        .assign()
        .unwrap();
    let (target, notifier) = irq.deassign().unwrap().into_parts();
    assert!(notifier.is_some());
    let IrqTarget::Lease(lease) = target else {
        panic!("a lease went in");
    };
    let mut transaction = table.transaction();
    transaction.unroute(&lease);
    transaction.commit().unwrap();
}

#[test]
fn a_missing_irqchip_is_told_from_other_refusals() {
    let (vm, table) = table();
    vm.lack_irqchip();
    for (errno, lacking) in [(22, true), (12, false)] {
        let lease = table.lease_msi(message()).unwrap();
        vm.fail_after(0, errno);
        let error = IrqFd::builder(lease).assign().unwrap_err().error;
        assert_eq!(
            matches!(error, IrqFdError::NoIrqChip { .. }),
            lacking,
            "{errno}: {error}"
        );
        assert_eq!(
            matches!(error, IrqFdError::Refused { .. }),
            !lacking,
            "{errno}: {error}"
        );
    }
}

/// As arm64 returns between the creation of its GIC and its initialisation.
#[test]
fn an_irqchip_that_is_not_ready_yet_is_told_from_a_missing_one() {
    let (vm, table) = table();
    let lease = table.lease_msi(message()).unwrap();
    vm.fail_after(0, 11);
    let rejected = IrqFd::builder(lease).assign().unwrap_err();
    assert!(matches!(rejected.error, IrqFdError::NotReady { .. }));
    let text = rejected.error.to_string();
    assert!(
        text.contains("is not initialised yet; ") && text.ends_with("(os error 11)"),
        "{text}"
    );
    drop(rejected.value.assign().unwrap());
}

#[test]
fn a_gsi_that_could_not_be_disarmed_is_never_given_to_another() {
    let (vm, table) = table();
    let irq = IrqFd::builder(table.lease_msi(message()).unwrap())
        .assign()
        .unwrap();
    vm.fail_after(0, 5);
    drop(irq);
    assert_eq!(table.lease().unwrap().gsi().number(), 25);
    assert!(table.lease_exact(24).is_err());
    vm.take();
    table.recommit().unwrap();
    let calls = vm.take();
    let [Call::Routes(entries)] = calls.as_slice() else {
        panic!("{calls:?}");
    };
    assert_eq!(entries.len(), 1, "its route stays");

    let mut transaction = table.transaction();
    let four = table.gsi(4).unwrap();
    transaction.wire(four, Pin::new(IrqChip::IoApic, 4).unwrap());
    transaction.commit().unwrap();
    let irq = IrqFd::builder(table.line(4).unwrap()).assign().unwrap();
    vm.fail_after(0, 5);
    drop(irq);
    let mut transaction = table.transaction();
    transaction.unwire(four);
    assert!(
        transaction.commit().is_err(),
        "the stray notifier keeps its route"
    );
}

/// A signal that is in the notifier when it is bound comes after the binding.
#[track_caller]
fn expect_one(notifier: &EventNotifier) {
    let count = notifier.consume().unwrap().map(u64::from);
    assert_eq!(count, Some(1), "it has room again");
}

/// A peer fills the counter as far as a write can, and vhost adds the last one.
#[test]
fn a_notifier_that_the_kernel_has_filled_is_emptied() {
    let (_, table) = table();
    let notifier = Arc::new(EventNotifier::new().unwrap());
    notifier.as_ref().as_ref().write(u64::MAX - 1).unwrap();
    signal_from_kernel(notifier.as_fd()).unwrap();
    let lease = table.lease_msi(message()).unwrap();
    let builder = IrqFd::builder(lease).notifier(Arc::clone(&notifier));
    let irq = builder.assign().unwrap();
    expect_one(&notifier);
    drop(irq);
}

/// How many signals were handled.
static HANDLED: AtomicU64 = AtomicU64::new(0);

extern "C" fn count(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

/// Signal handlers interrupt the system calls of the binding thread.
#[test]
fn a_full_notifier_is_emptied_however_often_a_signal_interrupts() {
    register_signal_handler(libc::SIGUSR1, count).unwrap();
    let binder = thread::spawn(|| {
        let (vm, table) = table();
        let notifier = Arc::new(EventNotifier::new().unwrap());
        let mut lease = Some(table.lease_msi(message()).unwrap());
        for _ in 0..50_000 {
            notifier.as_ref().as_ref().write(u64::MAX - 1).unwrap();
            let builder = IrqFd::builder(lease.take().unwrap()).notifier(Arc::clone(&notifier));
            let irq = builder.assign().unwrap();
            expect_one(&notifier);
            let IrqTarget::Lease(freed) = irq.deassign().unwrap().into_parts().0 else {
                panic!("a lease went in");
            };
            lease = Some(freed);
            vm.take();
        }
    });
    while !binder.is_finished() {
        // This fails if the thread has just ended.
        let _ = binder.kill(libc::SIGUSR1);
    }
    binder.join().unwrap();
    assert!(HANDLED.load(Ordering::Relaxed) > 0);
}

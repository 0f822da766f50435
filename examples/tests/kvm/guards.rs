// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Guards dropped in every order, and during a panic: the kernel keeps nothing of them.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ioeventfd::{Datamatch, IoAddress, IoEventFd, Width};
use irq_routing::{MsiMessage, RoutingTable};
use irqfd::IrqFd;
use itertools::Itertools;
use kvm_test::{Trial, kvm_x86, open_fds};
use notify_core::{EventFd, EventNotifier, KvmVm, NotifierPair, Vm};
use tiny_guest::Machine;
use tiny_guest::kvm_ioctls::{IoEventAddress, NoDatamatch, VmFd};
use tiny_guest::layout::{DOORBELL, msi_address};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        kvm_x86("guards_in_every_order_leave_the_kernel_clean", every_order),
        kvm_x86("guards_in_a_panic_leave_the_kernel_clean", in_a_panic),
        kvm_x86(
            "retired_guards_in_every_order_leave_no_file_open",
            retired_in_every_order,
        ),
    ]
}

const PORT: u16 = 0x510;
/// How many guards a device holds.
const HELD: usize = 5;

/// Everything that a device holds, and how to check what the kernel still has of it.
struct Device {
    /// In no order: each is dropped separately.
    held: Vec<Box<dyn Any>>,
    vm: Arc<KvmVm>,
    eventfds: [EventFd; 2],
}

fn device(vm_fd: &VmFd) -> Device {
    let vm = Arc::new(KvmVm::try_from(vm_fd).unwrap());
    let table = RoutingTable::new(vm.clone()).unwrap();
    let pair = NotifierPair::new().unwrap();
    let lease = table
        .lease_msi(MsiMessage::new(msi_address(0), 0x40))
        .unwrap();
    let irq = IrqFd::builder(lease)
        .notifier(Arc::clone(&pair.guest_notifier))
        .assign()
        .unwrap();
    let bell = |address, datamatch| {
        let builder = IoEventFd::builder(vm.clone(), address, datamatch);
        builder
            .notifier(Arc::clone(&pair.host_notifier))
            .assign()
            .unwrap()
    };
    let mmio = bell(IoAddress::Mmio(DOORBELL), Datamatch::U32(1));
    let pio = bell(IoAddress::Pio(PORT), Datamatch::Width(Width::W2));
    let duplicate = |notifier: &EventNotifier| notifier.try_clone().unwrap().try_into().unwrap();
    Device {
        eventfds: [
            duplicate(&pair.host_notifier),
            duplicate(&pair.guest_notifier),
        ],
        held: vec![
            Box::new(irq),
            Box::new(mmio),
            Box::new(pio),
            Box::new(pair),
            Box::new(table),
        ],
        vm,
    }
}

/// Registers by other means what the device had registered, and undoes it.
#[track_caller]
fn expect_clean(vm_fd: &VmFd, eventfds: &[EventFd; 2]) {
    for eventfd in eventfds {
        vm_fd
            .register_irqfd(eventfd, 24)
            .expect("an eventfd is still bound");
        vm_fd.unregister_irqfd(eventfd, 24).unwrap();
    }
    let [eventfd, _] = eventfds;
    // Any writes collide with every doorbell that is left there.
    for address in [
        IoEventAddress::Mmio(DOORBELL),
        IoEventAddress::Pio(PORT.into()),
    ] {
        vm_fd
            .register_ioevent(eventfd, &address, NoDatamatch)
            .expect("an address is still taken");
        vm_fd
            .unregister_ioevent(eventfd, &address, NoDatamatch)
            .unwrap();
    }
}

/// All orders in which the guards of a device can be dropped.
fn orders() -> impl Iterator<Item = Vec<usize>> {
    (0..HELD).permutations(HELD)
}

fn every_order() {
    let (machine, _vcpus) = Machine::builder().build().unwrap();
    let before = open_fds().unwrap();
    assert_eq!(orders().count(), 120);
    for order in orders() {
        let Device { held, vm, eventfds } = device(machine.vm());
        drop(vm);
        let mut held: Vec<_> = held.into_iter().map(Some).collect();
        for index in &order {
            held[*index] = None;
        }
        expect_clean(machine.vm(), &eventfds);
        drop(eventfds);
        assert_eq!(open_fds().unwrap(), before, "order {order:?}");
    }
}

fn in_a_panic() {
    let (machine, _vcpus) = Machine::builder().build().unwrap();
    let before = open_fds().unwrap();
    let Device { held, vm, eventfds } = device(machine.vm());
    let panicked = catch_unwind(AssertUnwindSafe(move || {
        let _held = (held, vm);
        panic!("a bug of the caller, on purpose");
    }));
    assert!(panicked.is_err());
    expect_clean(machine.vm(), &eventfds);
    drop(eventfds);
    assert_eq!(open_fds().unwrap(), before);
}

fn retired_in_every_order() {
    let before = open_fds().unwrap();
    for order in orders() {
        let (machine, _vcpus) = Machine::builder().build().unwrap();
        let Device { held, vm, eventfds } = device(machine.vm());
        vm.retire();
        drop((machine, vm, eventfds));
        let mut held: Vec<_> = held.into_iter().map(Some).collect();
        for index in order {
            held[index] = None;
        }
    }
    assert_eq!(open_fds().unwrap(), before);
}

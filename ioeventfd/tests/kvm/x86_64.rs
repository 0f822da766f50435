// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The cases that a machine without a running guest can show.

use std::sync::Arc;

use ioeventfd::{Datamatch, Error, IoAddress, IoEventFd, Width};
use kvm_test::{Machine, Trial, kvm, open_fds};
use notify_core::{EventNotifier, KvmVm, Vm};

const MMIO: IoAddress = IoAddress::Mmio(0xd000_0000);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        kvm("an_address_is_free_again_after_drop", free_after_drop),
        kvm("two_devices_on_one_doorbell", two_devices_on_one_doorbell),
        kvm(
            "a_notifier_that_the_caller_dropped_still_deregisters",
            caller_dropped_notifier,
        ),
        kvm("a_retired_machine_refuses", retired),
        kvm(
            "a_failed_registration_leaves_nothing_open",
            nothing_left_open,
        ),
    ]
}

fn vm() -> Arc<KvmVm> {
    Machine::without_irqchip().unwrap()
}

fn assign(vm: &Arc<KvmVm>, address: IoAddress, datamatch: Datamatch) -> Result<IoEventFd, Error> {
    Ok(IoEventFd::builder(vm.clone(), address, datamatch).assign()?)
}

fn free_after_drop() {
    let vm = vm();
    for address in [MMIO, IoAddress::Pio(0x510)] {
        for datamatch in [
            Datamatch::AnyWrite,
            Datamatch::Width(Width::W2),
            Datamatch::U8(1),
            Datamatch::U32(u32::MAX),
        ] {
            drop(assign(&vm, address, datamatch).unwrap());
            assign(&vm, address, datamatch).unwrap().deassign().unwrap();
            drop(assign(&vm, address, datamatch).unwrap());
        }
    }
    drop(assign(&vm, IoAddress::Mmio(u64::MAX), Datamatch::AnyWrite).unwrap());
    drop(assign(&vm, IoAddress::Pio(0xffff), Datamatch::U8(0)).unwrap());
}

fn two_devices_on_one_doorbell() {
    let vm = vm();
    let first = assign(&vm, MMIO, Datamatch::U16(1)).unwrap();
    let error = assign(&vm, MMIO, Datamatch::U16(1)).unwrap_err();
    assert!(matches!(
        &error,
        Error::Taken {
            address: MMIO,
            datamatch: Datamatch::U16(1),
            ..
        }
    ));
    assert_eq!(
        error.to_string(),
        "the doorbell at MMIO 0xd0000000 for 16-bit writes of 0x1 is taken"
    );
    let wildcard = assign(&vm, MMIO, Datamatch::Width(Width::W2));
    assert!(matches!(wildcard, Err(Error::Taken { .. })));
    let second = assign(&vm, MMIO, Datamatch::U16(2)).unwrap();
    // The one that was refused must not have taken the first one's place.
    first.deassign().unwrap();
    second.deassign().unwrap();
}

fn caller_dropped_notifier() {
    let vm = vm();
    let notifier = Arc::new(EventNotifier::new().unwrap());
    let builder = IoEventFd::builder(vm.clone(), MMIO, Datamatch::AnyWrite);
    let doorbell = builder.notifier(Arc::clone(&notifier)).assign().unwrap();
    drop(notifier);
    let _takes_the_lowest_number = EventNotifier::new().unwrap();
    drop(doorbell);
    drop(assign(&vm, MMIO, Datamatch::AnyWrite).unwrap());
}

fn retired() {
    let vm = vm();
    let doorbell = assign(&vm, MMIO, Datamatch::AnyWrite).unwrap();
    vm.retire();
    assert!(matches!(
        assign(&vm, MMIO, Datamatch::U8(1)),
        Err(Error::Retired { .. })
    ));
    doorbell.deassign().unwrap();
}

fn nothing_left_open() {
    let vm = vm();
    let first = assign(&vm, MMIO, Datamatch::AnyWrite).unwrap();
    let before = open_fds().unwrap();
    for _ in 0..10 {
        assert!(assign(&vm, MMIO, Datamatch::AnyWrite).is_err());
        assert!(assign(&vm, IoAddress::Pio(0xffff), Datamatch::U32(0)).is_err());
    }
    assert_eq!(open_fds().unwrap(), before);
    drop(first);
    assert_eq!(open_fds().unwrap(), before - 1);
    assert_eq!(Arc::strong_count(&vm), 1, "no guard is left");
    assert!(vm.capability(notify_core::Capability::IoEventFd).unwrap() > 0);
}

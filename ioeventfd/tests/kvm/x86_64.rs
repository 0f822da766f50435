// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The cases that need no running guest.

use std::sync::Arc;

use ioeventfd::{
    Datamatch, Doorbell, DoorbellRegistry, DoorbellSet, Error, IoAddress, IoEventFd, Width, Window,
};
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
        kvm("a_set_moves_in_the_kernel", set_moves),
        kvm("a_set_that_fails_is_as_before_in_the_kernel", set_fails),
        kvm("a_set_leaves_nothing_open", set_leaves_nothing_open),
        kvm("a_set_of_a_retired_machine_stops", set_retired),
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
    drop(assign(&vm, IoAddress::Mmio((1 << 52) - 1), Datamatch::AnyWrite).unwrap());
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
        "the doorbell at MMIO 0xd0000000 for 16-bit writes of 0x1 is taken by something outside \
         its registry, which must be deregistered first: File exists (os error 17)"
    );
    let wildcard = assign(&vm, MMIO, Datamatch::Width(Width::W2));
    assert!(matches!(wildcard, Err(Error::Taken { .. })));
    let second = assign(&vm, MMIO, Datamatch::U16(2)).unwrap();
    // The refused doorbell must not have replaced the first one.
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
    assert!(
        vm.check_extension(notify_core::Extension::IoEventFd)
            .unwrap()
            > 0
    );
}

const BAR: u64 = 0x1000;
const ELSEWHERE: IoAddress = IoAddress::Mmio(0xd100_0000);

fn set(vm: &Arc<KvmVm>) -> DoorbellSet {
    DoorbellSet::new(&DoorbellRegistry::new(vm.clone(), Window::X86_IRQCHIP))
}

/// Doorbells with a notifier each, four bytes apart.
fn queues(base: IoAddress, count: u64) -> Vec<Doorbell> {
    let one = |queue| {
        let address = IoAddress::Mmio(base.number() + queue * 4);
        let notifier = Arc::new(EventNotifier::new().unwrap());
        Doorbell::new(queue, address, Datamatch::Width(Width::W2), notifier)
    };
    (0..count).map(one).collect()
}

/// Whether the kernel has no doorbell at any of these places.
fn free(vm: &Arc<KvmVm>, base: IoAddress, count: u64) -> bool {
    queues(base, count)
        .iter()
        .all(|bell| assign(vm, bell.address, bell.datamatch).is_ok())
}

fn set_moves() {
    let vm = vm();
    for set in [set(&vm), set(&vm).removals_first()] {
        set.apply(set.plan(queues(MMIO, 4)).unwrap()).unwrap();
        assert!(!free(&vm, MMIO, 1) && free(&vm, ELSEWHERE, 4));
        set.relocate(MMIO, BAR, ELSEWHERE).unwrap();
        assert!(free(&vm, MMIO, 4) && !free(&vm, ELSEWHERE, 1));
        drop(set.stop().unwrap());
        assert!(free(&vm, ELSEWHERE, 4));
        set.start().unwrap();
        // By less than its own size, so that old and new place overlap.
        let shifted = IoAddress::Mmio(ELSEWHERE.number() + 4);
        set.relocate(ELSEWHERE, BAR, shifted).unwrap();
        assert!(free(&vm, ELSEWHERE, 1) && !free(&vm, shifted, 1));
        drop(set);
        assert!(free(&vm, shifted, 4));
    }
}

fn set_fails() {
    let vm = vm();
    let set = set(&vm);
    let there = queues(MMIO, 4);
    set.apply(set.plan(there.clone()).unwrap()).unwrap();
    // A doorbell that the registry does not know is at the last of the new places.
    let last = IoAddress::Mmio(ELSEWHERE.number() + 12);
    let foreign = assign(&vm, last, Datamatch::AnyWrite).unwrap();
    let error = set.relocate(MMIO, BAR, ELSEWHERE).unwrap_err();
    assert!(matches!(error, Error::Taken { address, .. } if address == last));
    assert!(free(&vm, ELSEWHERE, 3));
    for bell in &there {
        assert!(assign(&vm, bell.address, bell.datamatch).is_err());
    }
    drop(foreign);
    set.relocate(MMIO, BAR, ELSEWHERE).unwrap();
}

fn set_leaves_nothing_open() {
    let vm = vm();
    let before = open_fds().unwrap();
    let set = set(&vm);
    for round in 0..10 {
        let epoch = set.apply(set.plan(queues(MMIO, 8)).unwrap()).unwrap();
        set.vcpus_passed(epoch).unwrap();
        assert_eq!(open_fds().unwrap(), before + 8, "{round}");
    }
    let foreign = assign(&vm, ELSEWHERE, Datamatch::AnyWrite).unwrap();
    for _ in 0..10 {
        assert!(set.relocate(MMIO, BAR, ELSEWHERE).is_err());
        assert!(set.plan(queues(IoAddress::Mmio(0xfec0_0000), 8)).is_err());
    }
    drop(foreign);
    assert_eq!(open_fds().unwrap(), before + 8);
    drop(set);
    assert_eq!(open_fds().unwrap(), before);
    assert_eq!(Arc::strong_count(&vm), 1);
}

fn set_retired() {
    let vm = vm();
    let set = set(&vm);
    set.apply(set.plan(queues(MMIO, 2)).unwrap()).unwrap();
    vm.retire();
    assert!(matches!(
        set.relocate(MMIO, BAR, ELSEWHERE),
        Err(Error::Retired { .. })
    ));
    drop(set.stop().unwrap());
    assert!(matches!(set.start(), Err(Error::Retired { .. })));
}

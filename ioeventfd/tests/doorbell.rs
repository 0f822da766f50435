// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The requests of a doorbell to its VM, and what is refused before a request is made.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::error::Error as _;
use std::sync::Arc;

use ioeventfd::{Datamatch, Error, IoAddress, IoEventFd, IoEventFdBuilder, Width};
use kvm_test::{Call, Recorder, os_text};
use notify_core::{EventNotifier, Extension};

const MMIO: IoAddress = IoAddress::Mmio(0x1000);

fn doorbell(vm: &Arc<Recorder>, address: IoAddress, datamatch: Datamatch) -> IoEventFdBuilder {
    IoEventFd::builder(vm.clone(), address, datamatch)
}

#[test]
fn registers_and_undoes_exactly_that() {
    let vm = Arc::new(Recorder::default());
    for (datamatch, len, value) in [
        (Datamatch::AnyWrite, 0, None),
        (Datamatch::Width(Width::W1), 1, None),
        (Datamatch::Width(Width::W2), 2, None),
        (Datamatch::Width(Width::W4), 4, None),
        (Datamatch::Width(Width::W8), 8, None),
        (Datamatch::U8(0xff), 1, Some(0xff)),
        (Datamatch::U16(0), 2, Some(0)),
        (Datamatch::U32(u32::MAX), 4, Some(0xffff_ffff)),
        (Datamatch::U64(u64::MAX), 8, Some(u64::MAX)),
    ] {
        drop(doorbell(&vm, MMIO, datamatch).assign().unwrap());
        let expected = [
            Call::AssignDoorbell(0x1000, len, value),
            Call::DeassignDoorbell(0x1000, len, value),
        ];
        assert_eq!(vm.take(), expected);
    }
}

/// The end of the processor's address space: 52 bits on x86 and arm64, 59 for a guest of riscv64.
const NO_PHYSICAL_ADDRESS: u64 = if cfg!(target_arch = "riscv64") {
    1 << 59
} else {
    1 << 52
};

#[test]
fn what_can_never_ring_is_refused_before_the_machine_is_asked() {
    let vm = Arc::new(Recorder::default());
    let four = Datamatch::Width(Width::W4);
    for (address, datamatch) in [
        (IoAddress::Mmio(u64::MAX), Datamatch::U8(0)),
        (IoAddress::Mmio(u64::MAX), Datamatch::AnyWrite),
        (IoAddress::Mmio(u64::MAX - 3), four),
        (IoAddress::Mmio(NO_PHYSICAL_ADDRESS), Datamatch::AnyWrite),
        (IoAddress::Mmio(NO_PHYSICAL_ADDRESS), four),
        (IoAddress::Pio(0xffff), Datamatch::U16(0)),
        (IoAddress::Pio(0xfffd), four),
        (IoAddress::Pio(0x100), Datamatch::Width(Width::W8)),
        (IoAddress::Pio(0x100), Datamatch::U64(1)),
    ] {
        let rejected = doorbell(&vm, address, datamatch).assign().unwrap_err();
        assert!(
            matches!(rejected.error, Error::NoSuchWrite { address: a, .. } if a == address),
            "{address} {datamatch}: {}",
            rejected.error
        );
    }
    assert!(vm.take().is_empty());
    for (address, datamatch) in [
        (
            IoAddress::Mmio(NO_PHYSICAL_ADDRESS - 1),
            Datamatch::AnyWrite,
        ),
        (IoAddress::Mmio(NO_PHYSICAL_ADDRESS - 4), four),
        (IoAddress::Pio(0xfffc), four),
        (IoAddress::Pio(0xffff), Datamatch::AnyWrite),
    ] {
        drop(doorbell(&vm, address, datamatch).assign().unwrap());
    }
}

#[test]
fn any_write_needs_a_machine_that_can() {
    let vm = Arc::new(Recorder::default());
    vm.answer(Extension::IoEventFdAnyLength, 0);
    let error = doorbell(&vm, MMIO, Datamatch::AnyWrite)
        .assign()
        .unwrap_err()
        .error;
    assert!(
        matches!(error, Error::NoAnyWrite { address: MMIO, .. }),
        "{error}"
    );
    assert!(vm.take().is_empty());
    drop(doorbell(&vm, MMIO, Datamatch::U8(1)).assign().unwrap());
}

#[test]
fn a_failed_registration_gives_the_notifier_back_and_undoes_nothing() {
    let vm = Arc::new(Recorder::default());
    let notifier = Arc::new(EventNotifier::new().unwrap());
    vm.fail_after(0, 28);
    let builder = doorbell(&vm, IoAddress::Pio(0x10), Datamatch::U16(1));
    let rejected = builder
        .notifier(Arc::clone(&notifier))
        .assign()
        .unwrap_err();
    assert_eq!(
        rejected.to_string(),
        "the VM refused the doorbell at port 0x10 for 16-bit writes of 0x1: No space left on \
         device (os error 28)"
    );
    assert!(rejected.error.source().is_none(), "the text has it already");
    assert_eq!(rejected.error.raw_os_error(), Some(28));
    assert_eq!(vm.take().len(), 1);
    let doorbell = rejected.value.assign().unwrap();
    assert!(Arc::ptr_eq(doorbell.notifier(), &notifier));
    let again = doorbell.deassign().unwrap().assign().unwrap();
    assert!(Arc::ptr_eq(again.notifier(), &notifier));
}

#[test]
fn deassign_reports_and_gives_back() {
    let vm = Arc::new(Recorder::default());
    let doorbell = doorbell(&vm, MMIO, Datamatch::U32(7)).assign().unwrap();
    let notifier = Arc::clone(doorbell.notifier());
    vm.fail_after(0, 12);
    let rejected = doorbell.deassign().unwrap_err();
    assert_eq!(
        rejected.to_string(),
        format!(
            "the doorbell at MMIO 0x1000 for 32-bit writes of 0x7 stays registered: {}",
            os_text(12)
        )
    );
    vm.take();
    let builder = rejected.value.deassign().unwrap();
    assert_eq!(
        vm.take(),
        [Call::DeassignDoorbell(0x1000, 4, Some(7))],
        "once"
    );
    let again = builder.assign().unwrap();
    assert!(Arc::ptr_eq(again.notifier(), &notifier));
    vm.take();
    drop(again);
    assert_eq!(vm.take(), [Call::DeassignDoorbell(0x1000, 4, Some(7))]);
}

#[test]
fn a_doorbell_that_the_kernel_does_not_have_is_deregistered() {
    const ENOENT: i32 = 2;
    let vm = Arc::new(Recorder::default());
    let doorbell = doorbell(&vm, MMIO, Datamatch::U32(7)).assign().unwrap();
    vm.take();
    vm.fail_after(0, ENOENT);
    drop(doorbell.deassign().unwrap());
    assert_eq!(
        vm.take(),
        [Call::DeassignDoorbell(0x1000, 4, Some(7))],
        "and not once more by the drop"
    );
}

#[test]
fn a_drop_that_fails_is_no_panic() {
    let vm = Arc::new(Recorder::default());
    let doorbell = doorbell(&vm, MMIO, Datamatch::AnyWrite).assign().unwrap();
    vm.fail_after(0, 5);
    drop(doorbell);
    assert_eq!(vm.take().len(), 2);
}

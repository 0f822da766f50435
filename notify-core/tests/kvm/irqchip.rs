// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `KvmVm` over the x86 interrupt controllers, and without them.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use kvm_ioctls::{Kvm, VmFd};
use kvm_test::{Trial, kvm};
use notify_core::{
    Bus, EventNotifier, Extension, IoEventFdRequest, IrqFdRequest, KvmVm, LineStatus, MsiMessage,
    MsiOutcome, Platform, Retired, RouteBuffer, RouteEntry, RouteTarget, Vm,
};

use crate::expect_errno;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        kvm("capabilities_are_asked_once", capabilities_are_asked_once),
        kvm(
            "capabilities_that_change_are_asked_again",
            capabilities_that_change,
        ),
        kvm("a_platform_needs_an_irqchip", a_platform_needs_an_irqchip),
        kvm("a_machine_without_irqchip_says_what_kvm_says", no_irqchip),
        kvm("irqfd_binds_and_unbinds", irqfd_binds_and_unbinds),
        kvm("routes_reach_the_kernel", routes_reach_the_kernel),
        kvm(
            "a_line_tells_what_became_of_it",
            a_line_tells_what_became_of_it,
        ),
        kvm(
            "a_message_without_a_destination_is_no_error",
            no_destination,
        ),
        kvm(
            "a_filter_that_refuses_messages_is_an_error",
            refused_messages,
        ),
        kvm(
            "a_retired_machine_refuses_and_forgives",
            a_retired_machine_refuses_and_forgives,
        ),
    ]
}

fn machine() -> (VmFd, KvmVm) {
    let vm_fd = Kvm::new().unwrap().create_vm().unwrap();
    vm_fd.create_irq_chip().unwrap();
    let vm = KvmVm::try_from(&vm_fd).unwrap();
    (vm_fd, vm)
}

fn capabilities_are_asked_once() {
    let (_vm_fd, vm) = machine();
    let all = [
        (Extension::IrqChip, 1),
        (Extension::IrqRouting, 4096),
        (Extension::IrqInjectStatus, 1),
        (Extension::IrqFd, 1),
        (Extension::IrqFdResample, 1),
        (Extension::IoEventFd, 1),
        (Extension::IoEventFdAnyLength, 1),
        (Extension::SignalMsi, 1),
    ];
    for _ in 0..2 {
        for (capability, value) in all {
            assert_eq!(
                vm.check_extension(capability).unwrap(),
                value,
                "{capability:?}"
            );
        }
    }
    // No ioctl works any more, which matters for capabilities that may change.
    retire_fd(&vm);
    for (capability, value) in all {
        assert_eq!(
            vm.check_extension(capability).unwrap(),
            value,
            "{capability:?}"
        );
    }
    vm.check_extension(Extension::SplitIrqChip).unwrap();
    assert!(vm.check_extension(Extension::MsiDevid).is_err());
    assert!(vm.check_extension(Extension::X2ApicApi).is_err());
}

fn capabilities_that_change() {
    let vm_fd = Kvm::new().unwrap().create_vm().unwrap();
    let vm = KvmVm::try_from(&vm_fd).unwrap();
    vm.check_extension(Extension::X2ApicApi).unwrap();
    let split = kvm_bindings::kvm_enable_cap {
        cap: Extension::SplitIrqChip.number(),
        args: [24, 0, 0, 0],
        ..Default::default()
    };
    vm_fd.enable_cap(&split).unwrap();
    let fresh = KvmVm::try_from(&vm_fd).unwrap();
    for capability in [
        Extension::X2ApicApi,
        Extension::IrqChip,
        Extension::MsiDevid,
    ] {
        let value = fresh.check_extension(capability).unwrap();
        assert_eq!(
            vm.check_extension(capability).unwrap(),
            value,
            "{capability:?}"
        );
    }
}

fn a_platform_needs_an_irqchip() {
    let (_vm_fd, vm) = machine();
    assert_eq!(vm.platform().unwrap(), Some(Platform::default()));
    let bare = Kvm::new().unwrap().create_vm().unwrap();
    let vm = KvmVm::try_from(&bare).unwrap();
    assert_eq!(vm.platform().unwrap(), None);
}

fn no_irqchip() {
    let bare = Kvm::new().unwrap().create_vm().unwrap();
    let vm = KvmVm::try_from(&bare).unwrap();
    let eventfd = EventNotifier::new().unwrap();
    expect_errno(
        vm.irqfd(&IrqFdRequest::assign(eventfd.as_fd(), 0)),
        libc::EINVAL,
    );
    vm.irqfd(&IrqFdRequest::deassign(eventfd.as_fd(), 0))
        .unwrap();
    expect_errno(vm.set_gsi_routing(&RouteBuffer::new()), libc::EINVAL);
    expect_errno(
        vm.signal_msi(&MsiMessage::new(0xfee0_0000, 0x30)),
        libc::EINVAL,
    );
    expect_errno(vm.irq_line_status(0, true), libc::ENXIO);
}

fn irqfd_binds_and_unbinds() {
    let (_vm_fd, vm) = machine();
    let (one, resample) = (EventNotifier::new().unwrap(), EventNotifier::new().unwrap());
    let assign = IrqFdRequest::assign(one.as_fd(), 5);
    vm.irqfd(&assign).unwrap();
    expect_errno(vm.irqfd(&assign), libc::EBUSY);
    one.notify().unwrap();
    assert!(!one.is_signalled().unwrap(), "KVM takes the signal");

    vm.irqfd(&IrqFdRequest::deassign(one.as_fd(), 5)).unwrap();
    one.notify().unwrap();
    assert!(one.is_signalled().unwrap(), "nothing takes the signal");
    let level = IrqFdRequest::assign_resample(one.as_fd(), 10, resample.as_fd());
    vm.irqfd(&level).unwrap();
    vm.irqfd(&IrqFdRequest::deassign(one.as_fd(), 10)).unwrap();
}

fn routes_reach_the_kernel() {
    let (_vm_fd, vm) = machine();
    let pin = |gsi, pin| RouteEntry::new(gsi, RouteTarget::Pin { chip: 2, pin });
    // Edge-triggered pins of a fresh IOAPIC are masked, so only the PIC's return "delivered".
    let pic = RouteEntry::new(100, RouteTarget::Pin { chip: 0, pin: 1 });
    let table: RouteBuffer = [pic, pin(101, 3)].into_iter().collect();
    vm.set_gsi_routing(&table).unwrap();
    assert_ne!(vm.irq_line_status(100, true).unwrap(), LineStatus::Ignored);
    assert_eq!(
        vm.irq_line_status(1, true).unwrap(),
        LineStatus::Ignored,
        "the default is gone"
    );

    let twice: RouteBuffer = [pin(7, 1), pin(7, 2)].into_iter().collect();
    expect_errno(vm.set_gsi_routing(&twice), libc::EINVAL);
    assert_ne!(
        vm.irq_line_status(100, false).unwrap(),
        LineStatus::Ignored,
        "nothing changed"
    );
}

fn a_line_tells_what_became_of_it() {
    let (_vm_fd, vm) = machine();
    assert_eq!(
        vm.irq_line_status(24, true).unwrap(),
        LineStatus::Ignored,
        "no route"
    );
    assert!(matches!(
        vm.irq_line_status(7, true).unwrap(),
        LineStatus::Delivered(_)
    ));
    // An edge that is raised while it is pending only on the IOAPIC is coalesced.
    let entry = RouteEntry::new(50, RouteTarget::Pin { chip: 0, pin: 6 });
    vm.set_gsi_routing(&[entry].into_iter().collect()).unwrap();
    let mut results = Vec::new();
    for level in [true, false, true] {
        results.push(vm.irq_line_status(50, level).unwrap());
    }
    assert!(
        matches!(results[0], LineStatus::Delivered(_)),
        "{results:?}"
    );
    assert_eq!(results[2], LineStatus::Coalesced, "{results:?}");
}

/// The ioctl fails with EPERM in the first case. A guest can cause that too, see `inject` of irqfd.
fn no_destination() {
    let (vm_fd, vm) = machine();
    let message = MsiMessage::new(0xfee0_0000, 0x30);
    assert_eq!(vm.signal_msi(&message).unwrap(), MsiOutcome::Blocked);
    let _vcpu = vm_fd.create_vcpu(0).unwrap();
    // Its local APIC is disabled after reset.
    assert_eq!(vm.signal_msi(&message).unwrap(), MsiOutcome::Blocked);
}

fn refused_messages() {
    const SIGNAL_MSI: u32 = 0x4020_aea5;
    let (_vm_fd, vm) = machine();
    let jailed = std::thread::spawn(move || {
        kvm_test::refuse(libc::SYS_ioctl, Some(SIGNAL_MSI), libc::EPERM).unwrap();
        vm.signal_msi(&MsiMessage::new(0xfee0_0000, 0x30))
    });
    expect_errno(jailed.join().unwrap(), libc::EPERM);
}

fn a_retired_machine_refuses_and_forgives() {
    let (_vm_fd, vm) = machine();
    let eventfd = EventNotifier::new().unwrap();
    let irqfd = IrqFdRequest::assign(eventfd.as_fd(), 5);
    let doorbell = IoEventFdRequest::assign(eventfd.as_fd(), Bus::Mmio, 0x1000, 4);
    vm.irqfd(&irqfd).unwrap();
    vm.ioeventfd(&doorbell).unwrap();
    vm.retire();

    for refused in [
        vm.irqfd(&IrqFdRequest::assign(eventfd.as_fd(), 6)),
        vm.ioeventfd(&doorbell),
        vm.set_gsi_routing(&RouteBuffer::new()),
        vm.signal_msi(&MsiMessage::new(0, 0)).map(drop),
        vm.irq_line_status(0, true).map(drop),
        vm.irq_line(0, true),
    ] {
        assert!(Retired::caused(&refused.unwrap_err()));
    }
    assert!(!Retired::caused(&io::Error::from_raw_os_error(
        libc::EINVAL
    )));

    vm.irqfd(&IrqFdRequest::deassign(eventfd.as_fd(), 5))
        .unwrap();
    vm.ioeventfd(&doorbell.deassign()).unwrap();
    eventfd.notify().unwrap();
    assert!(
        !eventfd.is_signalled().unwrap(),
        "no ioctl was made: the irqfd is still bound"
    );
}

/// Replaces the VM's file by `/dev/null`, so that every ioctl fails from then on.
#[allow(
    unsafe_code,
    reason = "nix's dup2 wants to own the target, which the VM owns"
)]
fn retire_fd(vm: &KvmVm) {
    let null = std::fs::File::open("/dev/null").unwrap();
    // SAFETY: dup2 touches no memory; `vm` still owns its number, which stays open.
    let number = unsafe { libc::dup2(null.as_raw_fd(), vm.as_fd().as_raw_fd()) };
    assert_eq!(number, vm.as_fd().as_raw_fd());
}

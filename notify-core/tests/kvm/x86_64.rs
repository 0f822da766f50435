// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Features of x86-64 only: KVM_INTERRUPT, a split irqchip, the status of a line.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use kvm_bindings::{
    KVM_IRQCHIP_IOAPIC, kvm_ioapic_state, kvm_ioapic_state__bindgen_ty_1, kvm_irqchip,
    kvm_irqchip__bindgen_ty_1,
};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use kvm_test::{Trial, bare, kvm, open_fds, split};
use nix::sys::epoll::{Epoll, EpollCreateFlags};
use notify_core::{
    Error, EventNotifier, KvmVcpu, KvmVm, LineStatus, MsiMessage, MsiOutcome, Platform, RouteEntry,
    RouteTarget, Vcpu, Vm,
};

use crate::{duplicate, expect_errno};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        kvm("a_vcpu_is_made_of_vcpus_only", made_of_vcpus_only),
        kvm("interrupt_of_each_irqchip", interrupt_of_each_irqchip),
        kvm("a_refused_interrupt_changes_nothing", refused),
        kvm("a_split_irqchip_is_told", a_split_irqchip_is_told),
        kvm("a_message_tells_how_many_took_it", message_to_all),
        kvm("a_line_without_status_is_another_request", without_status),
    ]
}

fn vcpu(vm_fd: &VmFd) -> (VcpuFd, KvmVcpu) {
    let vcpu_fd = vm_fd.create_vcpu(0).unwrap();
    let vcpu = KvmVcpu::try_from(&vcpu_fd).unwrap();
    (vcpu_fd, vcpu)
}

fn made_of_vcpus_only() {
    let before = open_fds().unwrap();
    let kvm = Kvm::new().unwrap();
    let vm_fd = kvm.create_vm().unwrap();
    let vcpu_fd = vm_fd.create_vcpu(0).unwrap();
    let eventfd = EventNotifier::new().unwrap();
    // Unlike most others, these two return EINVAL for an unknown request, as a vCPU does for an
    // invalid vector.
    let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
    let urandom = File::open("/dev/urandom").unwrap();
    for number in [
        kvm.as_raw_fd(),
        vm_fd.as_raw_fd(),
        eventfd.as_raw_fd(),
        epoll.0.as_raw_fd(),
        urandom.as_raw_fd(),
        0,
    ] {
        let rejected = KvmVcpu::from_fd(duplicate(number)).unwrap_err();
        let owned = rejected.value.as_raw_fd();
        assert!(matches!(rejected.error, Error::NotVcpu { fd, .. } if fd == owned));
        let refused = KvmVcpu::duplicate(&rejected.value);
        assert!(matches!(refused, Err(Error::NotVcpu { .. })));
    }
    let vcpu = KvmVcpu::from_fd(duplicate(vcpu_fd.as_raw_fd())).unwrap();
    let another = KvmVcpu::duplicate(&vcpu).unwrap();
    assert_ne!(another.as_fd().as_raw_fd(), vcpu.as_fd().as_raw_fd());
    let by_number = KvmVcpu::duplicate(&vcpu_fd).unwrap();
    by_number.interrupt(0x20).unwrap();
    assert!(matches!(
        KvmVcpu::duplicate(&i32::MAX),
        Err(Error::Duplicate { .. })
    ));
    drop(by_number);
    drop((kvm, vm_fd, vcpu_fd, vcpu, eventfd, epoll, urandom));
    another.interrupt(0x20).unwrap();
    drop(another);
    assert_eq!(open_fds().unwrap(), before);
}

fn interrupt_of_each_irqchip() {
    let full = bare().unwrap();
    full.create_irq_chip().unwrap();
    let (_vcpu_fd, vcpu_of_full) = vcpu(&full);
    expect_errno(vcpu_of_full.interrupt(0x20), libc::ENXIO);
    expect_errno(vcpu_of_full.interrupt(256), libc::EINVAL);

    let (_vcpu_fd, vcpu_of_split) = vcpu(&split().unwrap());
    vcpu_of_split.interrupt(0x20).unwrap();
    expect_errno(vcpu_of_split.interrupt(0x21), libc::EEXIST);

    let (_vcpu_fd, vcpu_of_none) = vcpu(&bare().unwrap());
    for vector in 0..256 {
        vcpu_of_none.interrupt(vector).unwrap();
    }
    expect_errno(vcpu_of_none.interrupt(256), libc::EINVAL);
}

/// The pending interrupt that KVM keeps for the guest, as KVM_GET_VCPU_EVENTS shows it.
fn waiting(vcpu_fd: &VcpuFd) -> Option<u8> {
    let interrupt = vcpu_fd.get_vcpu_events().unwrap().interrupt;
    (interrupt.injected != 0).then_some(interrupt.nr)
}

/// Creating one also calls the ioctl with an invalid vector.
fn refused() {
    let (vcpu_fd, vcpu) = vcpu(&bare().unwrap());
    assert_eq!(waiting(&vcpu_fd), None);
    let refused: io::Result<()> = vcpu.interrupt(0x1_0060);
    expect_errno(refused, libc::EINVAL);
    assert_eq!(waiting(&vcpu_fd), None);
    vcpu.interrupt(0x60).unwrap();
    assert_eq!(waiting(&vcpu_fd), Some(0x60));
    vcpu.interrupt(0x61).unwrap();
    assert_eq!(waiting(&vcpu_fd), Some(0x61));
}

fn a_split_irqchip_is_told() {
    let vm = KvmVm::try_from(&split().unwrap()).unwrap();
    assert_eq!(vm.platform().unwrap(), Some(Platform::X86Split));
}

fn message_to_all() {
    let vm_fd = bare().unwrap();
    vm_fd.create_irq_chip().unwrap();
    let vcpus = [0, 1].map(|id| vm_fd.create_vcpu(id).unwrap());
    let vm = KvmVm::try_from(&vm_fd).unwrap();
    let message = MsiMessage::new(0xfeef_f000, 0x41);
    let mut told = vec![vm.signal_msi(&message).unwrap()];
    for vcpu in &vcpus {
        let mut lapic = vcpu.get_lapic().unwrap();
        lapic.regs[0xf1] |= 1; // enabled
        vcpu.set_lapic(&lapic).unwrap();
        told.push(vm.signal_msi(&message).unwrap());
    }
    let [off, one, both] = [
        MsiOutcome::Blocked,
        MsiOutcome::Delivered(1),
        MsiOutcome::Delivered(2),
    ];
    assert_eq!(told, [off, one, both]);
}

/// With the status ioctl, the clock's pin gets no second interrupt before the EOI of the first.
fn without_status() {
    /// The first register of each kind in a local APIC that has a bit for vector 0x68.
    const IRR: usize = 0x200 + 3 * 16 + 1;
    const ISR: usize = 0x100 + 3 * 16 + 1;
    const VECTOR: u64 = 0x68;

    let vm_fd = bare().unwrap();
    vm_fd.create_irq_chip().unwrap();
    let vcpu_fd = vm_fd.create_vcpu(0).unwrap();
    let vm = KvmVm::try_from(&vm_fd).unwrap();
    let mut lapic = vcpu_fd.get_lapic().unwrap();
    lapic.regs[0xf1] |= 1; // enabled
    vcpu_fd.set_lapic(&lapic).unwrap();
    let ioapic = kvm_ioapic_state {
        base_address: 0xfec0_0000,
        redirtbl: [kvm_ioapic_state__bindgen_ty_1 { bits: VECTOR }; 24],
        ..kvm_ioapic_state::default()
    };
    let chip = kvm_irqchip {
        chip_id: KVM_IRQCHIP_IOAPIC,
        pad: 0,
        chip: kvm_irqchip__bindgen_ty_1 { ioapic },
    };
    vm_fd.set_irqchip(&chip).unwrap();
    let clock = RouteEntry::new(8, RouteTarget::Pin { chip: 2, pin: 8 });
    vm.set_gsi_routing(&[clock].into_iter().collect()).unwrap();

    let status = |level| vm.irq_line_status(8, level).unwrap();
    assert_eq!(status(true), LineStatus::Delivered(1));
    status(false);
    // The guest takes it, and sends no EOI.
    let mut lapic = vcpu_fd.get_lapic().unwrap();
    lapic.regs[ISR] = std::mem::take(&mut lapic.regs[IRR]);
    assert_eq!(lapic.regs[ISR], 1);
    vcpu_fd.set_lapic(&lapic).unwrap();
    let waits = || vcpu_fd.get_lapic().unwrap().regs[IRR] != 0;

    assert_eq!(status(true), LineStatus::Coalesced);
    status(false);
    assert!(!waits());
    vm.irq_line(8, true).unwrap();
    assert!(waits());
}

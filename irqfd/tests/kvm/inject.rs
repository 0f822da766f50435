// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Interrupts without an eventfd, on real VMs.

use std::sync::Arc;

use irq_routing::{IrqChip, Line, MsiMessage, Pin, Platform, RoutingTable, Wiring};
use irqfd::inject::InjectError;
use irqfd::inject::{self, Injected};
use kvm_ioctls::{VcpuFd, VmFd};
use kvm_test::{Machine, Trial, bare, kvm, split};
use notify_core::{KvmVcpu, KvmVm, Vm};

use crate::watched::Watched;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        kvm("inject_a_message", message),
        kvm("inject_a_message_that_no_local_apic_takes", no_local_apic),
        kvm("inject_a_message_into_a_guest_at_odds", guest_at_odds),
        kvm("inject_a_line", line),
        kvm("inject_a_line_by_its_status", line_by_its_status),
        kvm("inject_a_line_that_leads_to_a_message", line_of_a_message),
        kvm("inject_a_vector", vector),
        kvm("the_irqchip_is_found_out", irqchip),
    ]
}

fn table(vm_fd: &VmFd) -> RoutingTable {
    RoutingTable::new(Arc::new(KvmVm::try_from(vm_fd).unwrap())).unwrap()
}

const MESSAGE: MsiMessage = MsiMessage::new(Machine::MSI_ADDRESS, 0x41);
const ABSENT: MsiMessage = MsiMessage::new(Machine::MSI_ADDRESS + 0x9000, 0x42);

fn message() {
    let machine = Machine::new().unwrap();
    let table = RoutingTable::new(machine.vm()).unwrap();
    for _ in 0..2 {
        let injected = inject::message(&table, MESSAGE).unwrap();
        assert_eq!(injected, Injected::Delivered(1));
    }
    assert_eq!(machine.delivered().unwrap(), [0x41]);
    let injected = inject::message(&table, ABSENT).unwrap();
    assert_eq!(injected, Injected::NoListener);

    machine.vm().retire();
    let error = inject::message(&table, MESSAGE).unwrap_err();
    assert!(
        matches!(error, InjectError::MessageRefused { .. }),
        "{error}"
    );
}

fn no_local_apic() {
    let (full, none) = (bare().unwrap(), bare().unwrap());
    full.create_irq_chip().unwrap();
    let injected = inject::message(&table(&full), MESSAGE).unwrap();
    assert_eq!(injected, Injected::NoListener, "a VM without vCPUs");
    let error = inject::message(&table(&none), MESSAGE).unwrap_err();
    assert!(matches!(error, InjectError::NoIrqChip { .. }), "{error}");
    // Its local APIC is disabled after reset.
    let _vcpu = full.create_vcpu(0).unwrap();
    let injected = inject::message(&table(&full), MESSAGE).unwrap();
    assert_eq!(injected, Injected::NoListener);
}

/// A logical message that matches neither of two enabled local APICs. KVM_SIGNAL_MSI fails with
/// EPERM, as in a VM without vCPUs, if the two disagree on the mode of logical addressing; Linux
/// 6.1 does so if they agree, too.
fn guest_at_odds() {
    const FLAT: u32 = u32::MAX;
    const CLUSTER: u32 = 0x0fff_ffff;
    let vm_fd = bare().unwrap();
    vm_fd.create_irq_chip().unwrap();
    let vcpus = [0, 1].map(|id| vm_fd.create_vcpu(id).unwrap());
    let set = |vcpu: &VcpuFd, format: u32, address: u32| {
        let mut lapic = vcpu.get_lapic().unwrap();
        for (register, value) in [(0xf0, 0x1ff), (0xe0, format), (0xd0, address << 24)] {
            for (place, byte) in lapic.regs[register..].iter_mut().zip(value.to_le_bytes()) {
                *place = byte.cast_signed();
            }
        }
        vcpu.set_lapic(&lapic).unwrap();
    };
    let message = MsiMessage::new(Machine::MSI_ADDRESS + 0x8_0004, 0x41);
    set(&vcpus[0], FLAT, 1);
    set(&vcpus[1], FLAT, 2);
    let injected = inject::message(&table(&vm_fd), message).unwrap();
    assert_eq!(injected, Injected::NoListener);
    set(&vcpus[1], CLUSTER, 0x12);
    let injected = inject::message(&table(&vm_fd), message).unwrap();
    assert_eq!(injected, Injected::NoListener);
}

#[track_caller]
fn expect(line: &Line, level: bool, injected: Injected) {
    assert_eq!(inject::line_status(line, level).unwrap(), injected);
}

fn line() {
    let machine = Machine::new().unwrap();
    let builder = RoutingTable::builder(machine.vm()).wiring(Wiring::none(Platform::X86));
    let table = builder.build().unwrap();
    let mut wiring = table.transaction();
    let gsi = table.gsi(20).unwrap();
    wiring.wire(gsi, Pin::new(IrqChip::IoApic, 20).unwrap());
    wiring.commit().unwrap();
    let line = table.line(20).unwrap();
    expect(&line, true, Injected::Masked);
    expect(&line, true, Injected::Coalesced);
    inject::line(&line, false).unwrap();

    machine.unmask_ioapic(0x40).unwrap();
    expect(&line, true, Injected::Delivered(1));
    expect(&line, true, Injected::Coalesced);
    expect(&line, false, Injected::Delivered(1));
    assert_eq!(machine.delivered().unwrap(), [0x54]);
    machine.clear().unwrap();
    inject::line(&line, true).unwrap();
    assert_eq!(machine.delivered().unwrap(), [0x54]);
}

/// A VM that lacks KVM_IRQ_LINE_STATUS.
fn line_by_its_status() {
    let machine = Machine::new().unwrap();
    let table = RoutingTable::new(Arc::new(Watched::new(machine.vm()))).unwrap();
    let mut wiring = table.transaction();
    wiring.wire(
        table.gsi(20).unwrap(),
        Pin::new(IrqChip::IoApic, 20).unwrap(),
    );
    wiring.commit().unwrap();
    machine.unmask_ioapic(0x40).unwrap();
    let line = table.line(20).unwrap();
    inject::line(&line, false).unwrap();
    assert!(machine.delivered().unwrap().is_empty());
    inject::line(&line, true).unwrap();
    assert_eq!(machine.delivered().unwrap(), [0x54]);
}

fn line_of_a_message() {
    let machine = Machine::new().unwrap();
    let table = RoutingTable::new(machine.vm()).unwrap();
    let line = |message| table.lease_msi(message).unwrap().into_line().unwrap();
    let (here, nowhere) = (line(MESSAGE), line(ABSENT));
    expect(&here, true, Injected::Delivered(1));
    expect(&here, false, Injected::NoLowLevel);
    expect(&nowhere, true, Injected::NoListener);
    assert_eq!(machine.delivered().unwrap(), [0x41]);
}

fn vcpu(vm_fd: &VmFd) -> (VcpuFd, KvmVcpu) {
    let vcpu_fd = vm_fd.create_vcpu(0).unwrap();
    let vcpu = KvmVcpu::try_from(&vcpu_fd).unwrap();
    (vcpu_fd, vcpu)
}

fn vector() {
    let full = bare().unwrap();
    full.create_irq_chip().unwrap();
    let error = inject::vcpu(&vcpu(&full).1, 0x60).unwrap_err();
    assert!(matches!(error, InjectError::PicInKernel { .. }), "{error}");

    let (_fd, of_split) = vcpu(&split().unwrap());
    assert_eq!(inject::vcpu(&of_split, 0x60).unwrap(), Injected::Queued);
    let again = inject::vcpu(&of_split, 0x61).unwrap();
    assert_eq!(again, Injected::StillQueued);

    let (_fd, of_none) = vcpu(&bare().unwrap());
    for vector in [0x60, 0x61] {
        assert_eq!(inject::vcpu(&of_none, vector).unwrap(), Injected::Queued);
    }
}

fn irqchip() {
    let full = bare().unwrap();
    let of = |vm_fd: &VmFd| KvmVm::try_from(vm_fd).unwrap().platform().unwrap();
    assert_eq!(of(&full), None, "not yet");
    full.create_irq_chip().unwrap();
    assert_eq!(of(&full), Some(Platform::X86));
    assert_eq!(of(&split().unwrap()), Some(Platform::X86Split));
}

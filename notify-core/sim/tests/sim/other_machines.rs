// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! arm64 and riscv64, and x86 without an IOAPIC in the kernel, on any host.

use notify_core::{Extension, LineStatus, MsiMessage, MsiOutcome, Platform, Vm};
use notify_sim::raw::{IrqLevel, RoutingEntry};
use notify_sim::{Interrupt, Profile, SimVm};

use crate::common::*;

fn gic() -> SimVm {
    let vm = machine(Profile::Arm64Gic { spis: 64 });
    vm.init_gic();
    vm
}

fn aia() -> SimVm {
    let vm = machine(Profile::Riscv64Aia { sources: 16 });
    vm.init_aia();
    vm
}

#[test]
fn a_gic_that_is_not_initialised_takes_no_irqfd() {
    let vm = machine(Profile::Arm64Gic { spis: 64 });
    let one = eventfd();
    expect_errno(vm.kvm_irqfd(&irqfd(&one, 5, 0)), libc::EAGAIN);
    vm.kvm_irqfd(&irqfd(&one, 5, DEASSIGN)).unwrap();
    assert_eq!(vm.platform().unwrap(), None);
    vm.init_gic();
    assert_eq!(vm.platform().unwrap(), Some(Platform::Arm64Gic));
    vm.kvm_irqfd(&irqfd(&one, 5, 0)).unwrap();
}

#[test]
fn initialising_overwrites_the_table() {
    let vm = machine(Profile::Arm64Gic { spis: 64 });
    route(&vm, &[pin(100, 0, 5)]).unwrap();
    vm.init_gic();
    let (one, two) = (eventfd(), eventfd());
    vm.kvm_irqfd(&irqfd(&one, 100, 0)).unwrap();
    vm.kvm_irqfd(&irqfd(&two, 63, 0)).unwrap();
    one.notify().unwrap();
    two.notify().unwrap();
    assert_eq!(vm.deliver().len(), 1);
    assert!(vm.is_pin_pending(63));
}

#[test]
fn initialising_a_second_time_leaves_the_routes() {
    let vm = gic();
    route(&vm, &[pin(100, 0, 5)]).unwrap();
    vm.init_gic();
    let one = eventfd();
    vm.kvm_irqfd(&irqfd(&one, 100, 0)).unwrap();
    one.notify().unwrap();
    assert!(vm.is_pin_pending(5));

    let vm = aia();
    route(&vm, &[pin(100, 0, 5)]).unwrap();
    vm.init_aia();
    let two = eventfd();
    vm.kvm_irqfd(&irqfd(&two, 100, 0)).unwrap();
    two.notify().unwrap();
    assert!(vm.is_pin_pending(5));
}

#[test]
fn a_plain_irqfd_raises_a_shared_interrupt_and_never_lowers_it() {
    let vm = gic();
    vm.set_spi_level_triggered(5, true);
    let one = eventfd();
    vm.kvm_irqfd(&irqfd(&one, 5, 0)).unwrap();
    one.notify().unwrap();
    let injected = vm.deliver();
    assert_eq!(injected.len(), 1);
    let high = Interrupt::Pin {
        chip: 0,
        pin: 5,
        level: true,
    };
    assert_eq!(injected[0].interrupt, high);
    assert!(vm.take_pin(5) && vm.is_pin_pending(5), "it sticks");
}

#[test]
fn an_eoi_of_a_shared_interrupt_resamples() {
    let vm = gic();
    vm.set_spi_level_triggered(5, true);
    let (one, resample) = (eventfd(), eventfd());
    vm.kvm_irqfd(&level(&one, 5, &resample)).unwrap();
    one.notify().unwrap();
    assert!(vm.is_pin_pending(5));
    vm.guest_eoi(0, 5);
    assert!(!vm.is_pin_pending(5));
    expect_count(&resample, 1);
}

#[test]
fn an_eoi_of_an_edge_does_not_resample() {
    let vm = gic();
    let (one, resample) = (eventfd(), eventfd());
    vm.kvm_irqfd(&level(&one, 7, &resample)).unwrap();
    one.notify().unwrap();
    assert!(vm.take_pin(7));
    vm.guest_eoi(0, 7);
    expect_count(&resample, 0);
}

#[test]
fn a_line_of_arm64_is_kind_and_number() {
    let vm = gic();
    let line = |irq| vm.kvm_irq_line(&IrqLevel { irq, level: 1 });
    line(1 << 24 | 37).unwrap();
    assert!(vm.is_pin_pending(5), "INTID 37 is GSI 5");
    for irq in [1 << 24 | 31, 1 << 24 | 96, 2 << 24 | 15, 3 << 24 | 40] {
        expect_errno(line(irq), libc::EINVAL);
    }
    expect_errno(line(5), libc::ENXIO);
    assert_eq!(
        vm.irq_line_status(1 << 24 | 38, true).unwrap(),
        LineStatus::Unknown
    );
    let raw = machine(Profile::Arm64Gic { spis: 64 });
    let args = IrqLevel {
        irq: 1 << 24 | 37,
        level: 1,
    };
    expect_errno(raw.kvm_irq_line(&args), libc::EBUSY);
}

#[test]
fn pins_of_arm64_end_at_988_whatever_the_gic_has() {
    let vm = gic();
    route(&vm, &[pin(0, 0, 987)]).unwrap();
    for entry in [pin(0, 0, 988), pin(0, 1, 0)] {
        expect_errno(route(&vm, &[entry]), libc::EINVAL);
    }
}

#[test]
fn messages_need_an_its_and_a_device_id() {
    let vm = gic();
    let message = MsiMessage::new(0x808_0040 + 0x1_0000, 3);
    expect_errno(vm.signal_msi(&message), libc::ENODEV);
    assert_eq!(vm.check_extension(Extension::MsiDevid).unwrap(), 0);
    vm.add_its(0x808_0000);
    assert_eq!(vm.check_extension(Extension::MsiDevid).unwrap(), 1);
    expect_errno(vm.signal_msi(&message), libc::EINVAL);
    let message = message.with_devid(7);
    expect_errno(vm.signal_msi(&message), libc::EBUSY);
    vm.enable_its([]);
    assert_eq!(vm.signal_msi(&message).unwrap(), MsiOutcome::Blocked);
    vm.enable_its([(7, 3)]);
    assert_eq!(vm.signal_msi(&message).unwrap(), MsiOutcome::Delivered(1));
    let missing = RoutingEntry {
        u: [0x809_0040, 0, 3, 0, 0, 0, 0, 0],
        ..msi(24, 0)
    };
    route(&vm, &[missing]).unwrap();
    let one = eventfd();
    vm.kvm_irqfd(&irqfd(&one, 24, 0)).unwrap();
    let _ = vm.deliver();
    one.notify().unwrap();
    assert!(vm.deliver().iter().all(|one| !one.taken));
}

#[test]
fn riscv_has_no_gate_and_drops_what_comes_too_early() {
    let vm = machine(Profile::Riscv64Aia { sources: 16 });
    let one = eventfd();
    vm.kvm_irqfd(&irqfd(&one, 5, 0)).unwrap();
    one.notify().unwrap();
    vm.init_aia();
    assert!(!vm.is_pin_pending(5));
    one.notify().unwrap();
    assert!(vm.take_pin(5));
    assert!(!vm.is_pin_pending(5));
}

#[test]
fn a_source_of_riscv_pends_on_a_rise_only() {
    let vm = aia();
    let one = eventfd();
    vm.kvm_irqfd(&irqfd(&one, 5, 0)).unwrap();
    one.notify().unwrap();
    assert!(vm.take_pin(5));
    one.notify().unwrap();
    assert!(!vm.is_pin_pending(5), "the irqfd has left the input high");
    vm.kvm_irq_line(&IrqLevel { irq: 5, level: 0 }).unwrap();
    one.notify().unwrap();
    assert!(vm.is_pin_pending(5));
}

#[test]
fn sources_of_riscv_start_at_1() {
    let vm = aia();
    for (irq, errno) in [(0, libc::ENODEV), (17, libc::ENODEV)] {
        expect_errno(vm.kvm_irq_line(&IrqLevel { irq, level: 1 }), errno);
    }
    vm.kvm_irq_line(&IrqLevel { irq: 16, level: 1 }).unwrap();
    route(&vm, &[pin(0, 0, 1023)]).unwrap();
    expect_errno(route(&vm, &[pin(0, 0, 1024)]), libc::EINVAL);
}

#[test]
fn capabilities_are_those_of_the_machine() {
    for (profile, split, status) in [
        (Profile::X86, 1, 1),
        (Profile::Arm64Gic { spis: 64 }, 0, 0),
        (Profile::Riscv64Aia { sources: 16 }, 0, 0),
    ] {
        let vm = machine(profile);
        assert_eq!(vm.check_extension(Extension::IrqRouting).unwrap(), 4096);
        assert_eq!(vm.check_extension(Extension::IrqFd).unwrap(), 1);
        assert_eq!(vm.check_extension(Extension::SplitIrqChip).unwrap(), split);
        assert_eq!(
            vm.check_extension(Extension::IrqInjectStatus).unwrap(),
            status
        );
    }
}

#[test]
fn capabilities_of_length_0_and_of_resampling_differ() {
    /// KVM_CAP_IOEVENTFD_NO_LENGTH, which is x86's alone.
    const NO_LENGTH: u32 = 100;
    for (profile, no_length, resample) in [
        (Profile::X86, 1, 1),
        (Profile::Arm64Gic { spis: 64 }, 0, 1),
        (Profile::Riscv64Aia { sources: 16 }, 0, 0),
    ] {
        let vm = machine(profile);
        assert_eq!(vm.kvm_check_extension(NO_LENGTH).unwrap(), no_length);
        let resamples = vm.check_extension(Extension::IrqFdResample).unwrap();
        assert_eq!(resamples, resample, "{profile:?}");
    }
}

#[test]
fn a_vm_without_its_irqchip_is_that_of_no_profile() {
    let without = |profile| SimVm::builder().profile(profile).without_irqchip().build();
    let empty = |vm: &SimVm| route(vm, &[]);
    for profile in [Profile::X86, Profile::X86Split { pins: 24 }] {
        let vm = without(profile);
        assert_eq!(vm.platform().unwrap(), None);
        assert!(vm.pic().is_none() && vm.ioapic().is_none());
        expect_errno(empty(&vm), libc::EINVAL);
    }
    let vm = without(Profile::Arm64Gic { spis: 64 });
    vm.init_gic();
    assert_eq!(
        vm.platform().unwrap(),
        None,
        "there is nothing to initialise"
    );
    empty(&vm).unwrap();
    let vm = without(Profile::Riscv64Aia { sources: 16 });
    vm.init_aia();
    expect_errno(empty(&vm), libc::EINVAL);
}

/// `CONFIG_KVM_IOAPIC=n` removes KVM_CREATE_IRQCHIP and the routes to pins. A VM with local APICs
/// then has what a split irqchip has, and the capabilities that matter here stay.
#[test]
fn x86_without_an_ioapic_in_the_kernel_is_a_split_irqchip() {
    let vm = machine(Profile::X86Split { pins: 24 });
    assert_eq!(vm.platform().unwrap(), Some(Platform::X86Split));
    for extension in [
        Extension::IrqChip,
        Extension::IrqFd,
        Extension::IrqFdResample,
        Extension::IrqInjectStatus,
        Extension::SignalMsi,
        Extension::SplitIrqChip,
    ] {
        assert_eq!(vm.check_extension(extension).unwrap(), 1, "{extension:?}");
    }
    for chip in [PIC, SLAVE, IOAPIC] {
        expect_errno(route(&vm, &[pin(1, chip, 1)]), libc::EINVAL);
    }
    assert!(vm.pic().is_none() && vm.ioapic().is_none());
    route(&vm, &[msi(4, 0x41)]).unwrap();

    let (call, resample) = (eventfd(), eventfd());
    let refused = vm.kvm_irqfd(&level(&call, 4, &resample));
    expect_errno(refused, libc::EINVAL);
    vm.kvm_irqfd(&irqfd(&call, 4, 0)).unwrap();
    call.notify().unwrap();
    expect_vectors(&vm, &[0x41]);
    vm.clear_vectors(0);
    let status = |level| vm.irq_line_status(4, level).unwrap();
    assert_eq!(status(true), LineStatus::Delivered(1));
    assert_eq!(status(false), LineStatus::Ignored);
    // A GSI without a route, as those of the pins are then.
    assert_eq!(vm.irq_line_status(5, true).unwrap(), LineStatus::Ignored);
    vm.kvm_interrupt(0, 0x60).unwrap();
    assert_eq!(vm.take_interrupt(0), Some(0x60));
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! KVM_INTERRUPT.

use std::io;
use std::sync::Arc;

use notify_core::Vcpu;
use notify_sim::{CallKind, Profile, SimVm};

use crate::common::*;

fn with(profile: Profile) -> (Arc<SimVm>, Arc<dyn Vcpu>) {
    let vm = Arc::new(machine(profile));
    let vcpu = SimVm::vcpu(Arc::clone(&vm), 0).unwrap();
    (vm, Arc::new(vcpu))
}

#[test]
fn the_pics_in_the_kernel_inject_by_themselves() {
    let (vm, vcpu) = with(Profile::X86);
    expect_errno(vcpu.interrupt(0x20), libc::ENXIO);
    expect_errno(vcpu.interrupt(256), libc::EINVAL);
    assert_eq!(vm.take_interrupt(0), None);
}

#[test]
fn a_split_irqchip_takes_one_at_a_time() {
    let (vm, vcpu) = with(Profile::X86Split { pins: 24 });
    expect_errno(vcpu.interrupt(256), libc::EINVAL);
    vcpu.interrupt(0x20).unwrap();
    expect_errno(vcpu.interrupt(0x21), libc::EEXIST);
    expect_errno(vcpu.interrupt(u32::MAX), libc::EINVAL);
    assert_eq!(vm.take_interrupt(0), Some(0x20));
    vcpu.interrupt(0x21).unwrap();
    assert_eq!(vm.take_interrupt(0), Some(0x21));
    assert_eq!(vm.take_interrupt(0), None);
    assert!(vm.pending_vectors(0).is_empty(), "no local APIC gets it");
}

#[test]
fn without_an_irqchip_the_last_one_counts() {
    let (vm, vcpu) = with(Profile::None);
    expect_errno(vcpu.interrupt(256), libc::EINVAL);
    vcpu.interrupt(0x20).unwrap();
    vcpu.interrupt(0x21).unwrap();
    assert_eq!(vm.take_interrupt(0), Some(0x21));
    assert_eq!(vm.take_interrupt(0), None);
}

#[test]
fn each_vcpu_has_its_own() {
    let split = Profile::X86Split { pins: 24 };
    let vm = Arc::new(SimVm::builder().profile(split).vcpus(2).build());
    let second = SimVm::vcpu(Arc::clone(&vm), 1).unwrap();
    second.interrupt(0x20).unwrap();
    assert_eq!(vm.take_interrupt(0), None);
    assert_eq!(vm.take_interrupt(1), Some(0x20));
    assert!(SimVm::vcpu(Arc::clone(&vm), 2).is_none());
    expect_errno(vm.kvm_interrupt(2, 0x20), libc::EBADF);
}

#[test]
fn other_architectures_know_no_such_thing() {
    for profile in [
        Profile::Arm64Gic { spis: 32 },
        Profile::Riscv64Aia { sources: 32 },
    ] {
        let (_, vcpu) = with(profile);
        let error = vcpu.interrupt(0x20).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    }
}

#[test]
fn it_is_counted_and_fails_on_demand() {
    let (vm, vcpu) = with(Profile::X86Split { pins: 24 });
    vm.fail(CallKind::Interrupt, 1, libc::EIO);
    expect_errno(vcpu.interrupt(0x20), libc::EIO);
    assert_eq!(vm.take_interrupt(0), None);
    vcpu.interrupt(0x20).unwrap();
    assert_eq!(vm.calls(CallKind::Interrupt), 2);
    assert_eq!(vm.total_calls(), 2);
}

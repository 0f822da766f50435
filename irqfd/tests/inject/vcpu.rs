// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Vectors of a vCPU.

use std::sync::Arc;

use irqfd::inject::InjectError;
use irqfd::inject::{self, Injected};
use notify_core::Vcpu;
use notify_sim::{CallKind, Profile, SimVm};

fn with(profile: Profile) -> (Arc<SimVm>, impl Vcpu) {
    let vm = Arc::new(SimVm::builder().profile(profile).build());
    let vcpu = SimVm::vcpu(Arc::clone(&vm), 0).unwrap();
    (vm, vcpu)
}

#[test]
fn a_split_irqchip_holds_one_vector_and_says_so() {
    let (vm, vcpu) = with(Profile::X86Split { pins: 24 });
    assert_eq!(inject::vcpu(&vcpu, 0x60).unwrap(), Injected::Queued);
    assert_eq!(inject::vcpu(&vcpu, 0x61).unwrap(), Injected::StillQueued);
    assert_eq!(vm.take_interrupt(0), Some(0x60));
    assert_eq!(inject::vcpu(&vcpu, 0xff).unwrap(), Injected::Queued);
    assert_eq!(vm.take_interrupt(0), Some(0xff));
}

#[test]
fn without_an_irqchip_all_are_taken() {
    let (vm, vcpu) = with(Profile::None);
    for vector in [0x60, 0x61] {
        assert_eq!(inject::vcpu(&vcpu, vector).unwrap(), Injected::Queued);
    }
    assert_eq!(vm.take_interrupt(0), Some(0x61));
}

#[test]
fn refusals_say_what_is_missing() {
    let (_, vcpu) = with(Profile::X86);
    let error = inject::vcpu(&vcpu, 8).unwrap_err();
    assert!(matches!(error, InjectError::PicInKernel { vector: 8, .. }));
    assert_eq!(
        error.to_string(),
        "cannot inject vector 0x08 into a vCPU: the PICs are in the kernel; set a line with \
         `inject::line`: No such device or address (os error 6)"
    );

    let (_, vcpu) = with(Profile::Arm64Gic { spis: 32 });
    let error = inject::vcpu(&vcpu, 8).unwrap_err();
    let unsupported = std::io::ErrorKind::Unsupported;
    assert!(
        matches!(error, InjectError::VectorRefused { cause, .. } if cause.kind() == unsupported)
    );

    let (vm, vcpu) = with(Profile::None);
    vm.fail(CallKind::Interrupt, 1, libc::EIO);
    let error = inject::vcpu(&vcpu, 8).unwrap_err();
    assert!(matches!(
        error,
        InjectError::VectorRefused { vector: 8, .. }
    ));
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `SimVm` beside a real VM: the same random requests go to both, and after each request everything
//! visible of both is compared.
//!
//! `SIM_KVM_SEQUENCES` is the number of sequences of each trial, `SIM_KVM_SEED` the seed of the
//! first.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;

use kvm_test::{anywhere, open_fds};
use notify_core::{Bus, EventNotifier, IoEventFdRequest, IrqFdRequest, Vm};
use notify_sim::{DeliveryThread, SimVm};

#[cfg(target_arch = "x86_64")]
#[path = "sim_kvm/x86_64/mod.rs"]
mod x86_64;

fn main() -> ExitCode {
    #[cfg(target_arch = "x86_64")]
    let mut trials = x86_64::trials();
    #[cfg(not(target_arch = "x86_64"))]
    let mut trials = vec![kvm_test::x86_only("SimVm beside a VM with an x86 irqchip")];
    // It is here because trials run one by one: it counts the files of the process.
    trials.push(anywhere("nothing_stays_open", nothing_stays_open));
    kvm_test::main(trials)
}

fn nothing_stays_open() {
    let before = open_fds().unwrap();
    for _ in 0..10 {
        let vm = Arc::new(SimVm::builder().build());
        let thread = DeliveryThread::start(Arc::clone(&vm), |_, _| {}).unwrap();
        let (one, resample) = (EventNotifier::new().unwrap(), EventNotifier::new().unwrap());
        let irqfd = IrqFdRequest::assign_resample(one.as_fd(), 5, resample.as_fd());
        let doorbell = IoEventFdRequest::assign(one.as_fd(), Bus::Mmio, 0x1000, 4);
        vm.irqfd(&irqfd).unwrap();
        vm.ioeventfd(&doorbell).unwrap();
        assert!(vm.irqfd(&irqfd).is_err());
        assert!(vm.ioeventfd(&doorbell).is_err());
        one.notify().unwrap();
        drop(thread);
    }
    assert_eq!(open_fds().unwrap(), before);
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the trials have in common.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use kvm_test::PATIENCE;
use tiny_guest::kvm_bindings::kvm_msi;
use tiny_guest::{Exit, Irqchip, Machine, Slot, Vcpu, layout};

/// Counts events of guests. Trials run one after the other.
static PROGRESS: AtomicU64 = AtomicU64::new(0);

/// A VM with all interrupt controllers and one vCPU.
pub(crate) fn machine() -> (Machine, Vcpu) {
    machine_with(Irqchip::Full)
}

pub(crate) fn machine_with(irqchip: Irqchip) -> (Machine, Vcpu) {
    let (machine, mut vcpus) = Machine::builder().irqchip(irqchip).build().unwrap();
    assert_eq!(vcpus.len(), 1);
    (machine, vcpus.remove(0))
}

/// Runs `work`, and stops the vCPU if there is no progress for too long: a hang becomes a failure.
pub(crate) fn guarded<R>(vcpu: &mut Vcpu, work: impl FnOnce(&mut Vcpu) -> R) -> R {
    let stopper = vcpu.stopper();
    let (done, over) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut before = PROGRESS.load(Ordering::Relaxed);
            while over.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                let now = PROGRESS.load(Ordering::Relaxed);
                if now == before {
                    return stopper.stop();
                }
                before = now;
            }
        });
        let result = work(vcpu);
        drop(done);
        result
    })
}

/// Runs the guest to its end; no other exit may come before.
#[track_caller]
pub(crate) fn finish(vcpu: &mut Vcpu) -> u32 {
    guarded(vcpu, |vcpu| match vcpu.run().unwrap() {
        Exit::Finished(code) => code,
        other => panic!("{other:?}"),
    })
}

/// Waits for the guest.
#[track_caller]
pub(crate) fn await_slot(slot: &Slot, value: u64) {
    let start = Instant::now();
    while slot.load().unwrap() < value {
        let late = start.elapsed() > PATIENCE;
        assert!(!late, "{} of {value}", slot.load().unwrap());
        thread::yield_now();
    }
    PROGRESS.fetch_add(1, Ordering::Relaxed);
}

/// Sends `vector` to a vCPU. Returns whether its local APIC accepted it.
pub(crate) fn signal(machine: &Machine, vcpu: u8, vector: u8) -> bool {
    let msi = kvm_msi {
        address_lo: layout::msi_address(vcpu) as u32,
        data: vector.into(),
        ..Default::default()
    };
    machine.vm().signal_msi(msi).unwrap() > 0
}

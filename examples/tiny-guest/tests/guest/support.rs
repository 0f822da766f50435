// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the trials have in common.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tiny_guest::kvm_bindings::kvm_msi;
use tiny_guest::{Exit, Irqchip, Machine, Slot, Vcpu, layout};

/// Far more than any trial takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A machine with all interrupt controllers and one vCPU.
pub(crate) fn machine() -> (Machine, Vcpu) {
    machine_with(Irqchip::Full)
}

pub(crate) fn machine_with(irqchip: Irqchip) -> (Machine, Vcpu) {
    let (machine, mut vcpus) = Machine::builder().irqchip(irqchip).build().unwrap();
    assert_eq!(vcpus.len(), 1);
    (machine, vcpus.remove(0))
}

/// Does `work`, and stops the vCPU should that take too long: a hang becomes a failure.
pub(crate) fn guarded<R>(vcpu: &mut Vcpu, work: impl FnOnce(&mut Vcpu) -> R) -> R {
    let stopper = vcpu.stopper();
    let (done, over) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            if over.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
                stopper.stop();
            }
        });
        let result = work(vcpu);
        drop(done);
        result
    })
}

/// Runs the guest to its end, on the way to which it is not to come back.
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
        let late = start.elapsed() > LIMIT;
        assert!(!late, "{} of {value}", slot.load().unwrap());
        thread::yield_now();
    }
}

/// Sends `vector` to a vCPU. Returns whether its local APIC took it.
pub(crate) fn signal(machine: &Machine, vcpu: u8, vector: u8) -> bool {
    let msi = kvm_msi {
        address_lo: layout::msi_address(vcpu) as u32,
        data: vector.into(),
        ..Default::default()
    };
    machine.vm().signal_msi(msi).unwrap() > 0
}

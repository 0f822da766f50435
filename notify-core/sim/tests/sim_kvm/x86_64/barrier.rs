// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Waits until KVM's worker threads have done the work that was queued.

use std::os::fd::AsRawFd;

use kvm_bindings::kvm_irqchip;
use kvm_ioctls::{Kvm, VmFd};
use notify_core::EventNotifier;
use notify_sim::raw::IrqFd;

use super::ioctl;

/// The pin at which the signal of the barrier shows.
const PIN: u32 = 3;

/// A separate VM with one interrupt that takes the same way as all others.
///
/// Work runs on the processor on which it was queued, in order. The test stays on one processor, so
/// work that was queued before the barrier's signal is done when that signal shows; unless it ran
/// for 10 ms, see [`compare`](super::pair::Pair::compare).
pub(crate) struct Barrier {
    vm: VmFd,
    signal: EventNotifier,
}

impl Barrier {
    pub(crate) fn new() -> Self {
        stay_on_one_processor();
        let vm = Kvm::new().unwrap().create_vm().unwrap();
        vm.create_irq_chip().unwrap();
        let signal = EventNotifier::new().unwrap();
        let args = IrqFd {
            fd: signal.as_raw_fd(),
            gsi: PIN,
            ..IrqFd::default()
        };
        assert_eq!(ioctl::irqfd(&vm, &args), 0);
        Self { vm, signal }
    }

    #[allow(unsafe_code, reason = "the chip names the field of the union")]
    pub(crate) fn pass(&self) {
        self.signal.notify().unwrap();
        loop {
            let mut chip = kvm_irqchip::default();
            self.vm.get_irqchip(&mut chip).unwrap();
            // SAFETY: chip 0 is a PIC, whose state is made of bytes.
            if unsafe { chip.chip.pic.irr } & 1 << PIN != 0 {
                chip.chip.pic.irr = 0;
                self.vm.set_irqchip(&chip).unwrap();
                return;
            }
            std::thread::yield_now();
        }
    }
}

#[allow(unsafe_code, reason = "no dependency offers it")]
fn stay_on_one_processor() {
    // SAFETY: a set of processors is made of integers, for which zeros are valid; the kernel reads
    // and writes within its size.
    unsafe {
        let mut all: libc::cpu_set_t = std::mem::zeroed();
        assert_eq!(
            libc::sched_getaffinity(0, size_of_val(&all), &raw mut all),
            0
        );
        let first = (0..1024).find(|cpu| libc::CPU_ISSET(*cpu, &all)).unwrap();
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(first, &mut one);
        assert_eq!(
            libc::sched_setaffinity(0, size_of_val(&one), &raw const one),
            0
        );
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A machine that panics, which it must not, in the middle of a change.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ioeventfd::{DoorbellRegistry, DoorbellSet};
use notify_core::sim::SimVm;
use notify_core::{
    Capability, IoEventFdRequest, IrqFdRequest, LineStatus, MsiOutcome, MsiRequest, RouteBuffer, Vm,
};

use crate::common::*;

/// Panics at one of the requests to come; 0 for none.
#[derive(Debug)]
struct Panicking {
    vm: SimVm,
    left: AtomicU32,
}

impl Vm for Panicking {
    fn capability(&self, capability: Capability) -> io::Result<u32> {
        self.vm.capability(capability)
    }

    fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()> {
        self.vm.irqfd(request)
    }

    fn ioeventfd(&self, request: &IoEventFdRequest<'_>) -> io::Result<()> {
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.saturating_sub(1), Ordering::Relaxed);
        assert!(left != 1, "a machine must not panic");
        self.vm.ioeventfd(request)
    }

    fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()> {
        self.vm.set_gsi_routing(table)
    }

    fn signal_msi(&self, message: &MsiRequest) -> io::Result<MsiOutcome> {
        self.vm.signal_msi(message)
    }

    fn set_irq_line(&self, gsi: u32, level: bool) -> io::Result<LineStatus> {
        self.vm.set_irq_line(gsi, level)
    }
}

#[test]
fn the_next_plan_goes_on_from_there() {
    for nth in 1..=6 {
        let vm = Arc::new(Panicking {
            vm: SimVm::builder().build(),
            left: AtomicU32::new(0),
        });
        let registry = DoorbellRegistry::new(vm.clone(), &[]);
        let set = DoorbellSet::new(&registry);
        let all = notifiers(3);
        have(&set, queues(BASE, &all));
        vm.left.store(nth, Ordering::Relaxed);
        // The new places lie below the old ones.
        let panicked = catch_unwind(AssertUnwindSafe(|| change(&set, queues(ELSEWHERE, &all))));
        assert!(panicked.is_err());
        have(&set, queues(ELSEWHERE, &all));
        for queue in 0..3 {
            assert!(
                kernel_takes(&vm.vm, ELSEWHERE + queue * 4, &[0; 2]),
                "{nth}"
            );
            assert!(!kernel_takes(&vm.vm, BASE + queue * 4, &[0; 2]), "{nth}");
        }
        let other = DoorbellSet::new(&registry);
        have(&other, queues(BASE, &notifiers(3)));
        have(&other, []);
        // Once more, and dropped as it is.
        vm.left.store(nth, Ordering::Relaxed);
        let panicked = catch_unwind(AssertUnwindSafe(|| change(&set, queues(BASE, &all))));
        assert!(panicked.is_err());
        drop(set);
        have(&other, queues(BASE, &notifiers(3)));
        have(&other, queues(ELSEWHERE, &notifiers(3)));
    }
}

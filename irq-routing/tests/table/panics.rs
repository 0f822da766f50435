// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A machine with a bug.

use std::sync::Arc;

use irq_routing::{IrqChip, Route, RoutingTable};
use kvm_test::Recorder;

use crate::{message, pin};

/// A machine whose author made a mistake.
#[derive(Debug, Default)]
struct Panicking {
    recorder: Recorder,
    armed: std::sync::atomic::AtomicBool,
}

impl notify_core::Vm for Panicking {
    fn capability(&self, capability: notify_core::Capability) -> std::io::Result<u32> {
        self.recorder.capability(capability)
    }
    fn irqfd(&self, request: &notify_core::IrqFdRequest<'_>) -> std::io::Result<()> {
        self.recorder.irqfd(request)
    }
    fn ioeventfd(&self, request: &notify_core::IoEventFdRequest<'_>) -> std::io::Result<()> {
        self.recorder.ioeventfd(request)
    }
    fn set_gsi_routing(&self, table: &notify_core::RouteBuffer) -> std::io::Result<()> {
        assert!(
            !self.armed.load(std::sync::atomic::Ordering::Relaxed),
            "a bug of the machine"
        );
        self.recorder.set_gsi_routing(table)
    }
    fn signal_msi(
        &self,
        message: &notify_core::MsiRequest,
    ) -> std::io::Result<notify_core::MsiOutcome> {
        self.recorder.signal_msi(message)
    }
    fn set_irq_line(&self, gsi: u32, level: bool) -> std::io::Result<notify_core::LineStatus> {
        self.recorder.set_irq_line(gsi, level)
    }
}

#[test]
fn a_machine_that_panics_in_a_commit_spoils_nothing() {
    let vm = Arc::new(Panicking::default());
    let arm = |armed| vm.armed.store(armed, std::sync::atomic::Ordering::Relaxed);
    let table = RoutingTable::new(vm.clone()).unwrap();
    let [changed, removed, added] = [1, 2, 3].map(|data| table.lease_msi(message(data)).unwrap());
    let mut transaction = table.transaction();
    transaction.unroute(&added);
    transaction.commit().unwrap();
    vm.recorder.take();
    table.recommit().unwrap();
    let before = vm.recorder.take();

    let panicking = || {
        arm(true);
        let mut transaction = table.transaction();
        transaction.route(&changed, message(7)).unroute(&removed);
        transaction.route(&added, message(8));
        transaction.wire(table.gsi(4).unwrap(), pin(IrqChip::IoApic, 4));
        let commit = std::panic::AssertUnwindSafe(|| transaction.commit());
        assert!(std::panic::catch_unwind(commit).is_err());
        arm(false);
    };
    panicking();
    assert_eq!(changed.route(), Some(Route::Msi(message(1))));
    assert_eq!(added.route(), None);
    table.transaction().commit().unwrap();
    assert_eq!(
        vm.recorder.take(),
        before,
        "what the kernel has was not known"
    );
    table.transaction().commit().unwrap();
    assert!(vm.recorder.take().is_empty(), "now it is");

    panicking();
    table.flush().unwrap();
    assert_eq!(vm.recorder.take(), before, "a flush makes good, too");
    table.flush().unwrap();
    assert!(vm.recorder.take().is_empty());
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A simulated VM with a hook before each of its KVM_IOEVENTFDs.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};

use notify_core::{
    Extension, IoEventFdRequest, IrqFdRequest, LineStatus, MsiMessage, MsiOutcome, RouteBuffer, Vm,
};
use notify_sim::SimVm;

pub(crate) struct Hooked {
    pub(crate) vm: SimVm,
    before: Box<dyn Fn() + Send + Sync>,
}

impl Hooked {
    pub(crate) fn new(before: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            vm: SimVm::builder().build(),
            before: Box::new(before),
        }
    }
}

/// Stops the next KVM_IOEVENTFD once, until the test releases it.
pub(crate) struct Pause {
    armed: AtomicBool,
    entered: Barrier,
    resumed: Barrier,
}

impl Pause {
    pub(crate) fn vm() -> (Arc<Hooked>, Arc<Self>) {
        let pause = Arc::new(Self {
            armed: AtomicBool::new(false),
            entered: Barrier::new(2),
            resumed: Barrier::new(2),
        });
        let of_vm = Arc::clone(&pause);
        let vm = Hooked::new(move || {
            if of_vm.armed.swap(false, Ordering::Relaxed) {
                of_vm.entered.wait();
                of_vm.resumed.wait();
            }
        });
        (Arc::new(vm), pause)
    }

    pub(crate) fn arm(&self) {
        self.armed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn wait_until_entered(&self) {
        self.entered.wait();
    }

    pub(crate) fn resume(&self) {
        self.resumed.wait();
    }
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.vm.fmt(f)
    }
}

impl Vm for Hooked {
    fn check_extension(&self, capability: Extension) -> io::Result<u32> {
        self.vm.check_extension(capability)
    }

    fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()> {
        self.vm.irqfd(request)
    }

    fn ioeventfd(&self, request: &IoEventFdRequest<'_>) -> io::Result<()> {
        (self.before)();
        self.vm.ioeventfd(request)
    }

    fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()> {
        self.vm.set_gsi_routing(table)
    }

    fn signal_msi(&self, message: &MsiMessage) -> io::Result<MsiOutcome> {
        self.vm.signal_msi(message)
    }

    fn irq_line_status(&self, gsi: u32, level: bool) -> io::Result<LineStatus> {
        self.vm.irq_line_status(gsi, level)
    }
}

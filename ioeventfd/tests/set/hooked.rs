// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A simulated machine with something done before each of its KVM_IOEVENTFDs.

use std::fmt;
use std::io;

use notify_core::sim::SimVm;
use notify_core::{
    Capability, IoEventFdRequest, IrqFdRequest, LineStatus, MsiOutcome, MsiRequest, RouteBuffer, Vm,
};

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

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.vm.fmt(f)
    }
}

impl Vm for Hooked {
    fn capability(&self, capability: Capability) -> io::Result<u32> {
        self.vm.capability(capability)
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

    fn signal_msi(&self, message: &MsiRequest) -> io::Result<MsiOutcome> {
        self.vm.signal_msi(message)
    }

    fn set_irq_line(&self, gsi: u32, level: bool) -> io::Result<LineStatus> {
        self.vm.set_irq_line(gsi, level)
    }
}

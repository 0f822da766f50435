// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Machine`]: tells the model of each request, and lets the guest write before it.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::panicking;

use notify_core::sim::{Profile, SimVm};
use notify_core::{
    Capability, IoEventFdRequest, IrqFdRequest, LineStatus, MsiOutcome, MsiRequest, RouteBuffer, Vm,
};

use super::world::World;

/// A machine that tells of what is asked of it.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) sim: SimVm,
    world: Mutex<World>,
}

impl Machine {
    pub(super) fn new(world: World) -> Self {
        Self {
            sim: SimVm::builder().profile(Profile::None).build(),
            world: Mutex::new(world),
        }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Vm for Machine {
    fn capability(&self, capability: Capability) -> io::Result<u32> {
        self.sim.capability(capability)
    }

    fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()> {
        self.sim.irqfd(request)
    }

    fn ioeventfd(&self, request: &IoEventFdRequest<'_>) -> io::Result<()> {
        if panicking() {
            return self.sim.ioeventfd(request);
        }
        self.world().before_call(&self.sim);
        let result = self.sim.ioeventfd(request);
        self.world().after_call(request, &result);
        result
    }

    fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()> {
        self.sim.set_gsi_routing(table)
    }

    fn signal_msi(&self, message: &MsiRequest) -> io::Result<MsiOutcome> {
        self.sim.signal_msi(message)
    }

    fn set_irq_line(&self, gsi: u32, level: bool) -> io::Result<LineStatus> {
        self.sim.set_irq_line(gsi, level)
    }
}

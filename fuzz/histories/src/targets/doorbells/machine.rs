// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Machine`]: a VM that reports each request to the model, and lets the guest write before it.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::panicking;

use notify_core::{
    Extension, IoEventFdRequest, IrqFdRequest, LineStatus, MsiMessage, MsiOutcome, RouteBuffer, Vm,
};
use notify_sim::{Profile, SimVm};

use super::world::World;

/// A VM that reports each request to the model.
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
    fn check_extension(&self, capability: Extension) -> io::Result<u32> {
        self.sim.check_extension(capability)
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

    fn signal_msi(&self, message: &MsiMessage) -> io::Result<MsiOutcome> {
        self.sim.signal_msi(message)
    }

    fn irq_line_status(&self, gsi: u32, level: bool) -> io::Result<LineStatus> {
        self.sim.irq_line_status(gsi, level)
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Watched`]: a simulated VM that shows the routing table in force.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use notify_core::{
    Extension, IoEventFdRequest, IrqFdRequest, LineStatus, MsiMessage, MsiOutcome, Platform,
    RouteBuffer, RouteEntry, RoutingClaim, Vm,
};
use notify_sim::{CallKind, Profile, SimVm};

use super::Reading;

const EINVAL: i32 = 22;
const ENOMEM: i32 = 12;

#[derive(Debug)]
pub(super) struct Watched {
    pub(super) sim: Arc<SimVm>,
    in_force: Mutex<Vec<RouteEntry>>,
}

/// The kinds of VM.
pub(super) const PROFILES: [Profile; 4] = [
    Profile::X86,
    Profile::X86Split { pins: 24 },
    Profile::Arm64Gic { spis: 32 },
    Profile::Riscv64Aia { sources: 32 },
];

impl Watched {
    pub(super) fn new(profile: Profile) -> Arc<Self> {
        let sim = Arc::new(SimVm::builder().profile(profile).build());
        match profile {
            Profile::Arm64Gic { .. } => sim.init_gic(),
            Profile::Riscv64Aia { .. } => sim.init_aia(),
            _ => sim.enable_lapic(0),
        }
        Self::of(sim)
    }

    /// One without interrupt controllers, so that its bus is empty.
    pub(super) fn bare() -> Arc<Self> {
        Self::of(Arc::new(SimVm::builder().without_irqchip().build()))
    }

    fn of(sim: Arc<SimVm>) -> Arc<Self> {
        let in_force = Mutex::default();
        Arc::new(Self { sim, in_force })
    }

    pub(super) fn in_force(&self) -> Vec<RouteEntry> {
        let in_force = self.in_force.lock();
        in_force.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a request of these kinds fail, if one is to fail.
    pub(super) fn arm(&self, reading: &Reading<'_>, kinds: &[CallKind]) {
        if let Some((which, memory)) = reading.fault {
            let which = usize::from(which);
            let kind = kinds[which % kinds.len()];
            let nth = (which / kinds.len() % 3) as u64;
            self.sim
                .fail(kind, nth, if memory { ENOMEM } else { EINVAL });
        }
    }
}

impl Vm for Watched {
    fn check_extension(&self, capability: Extension) -> io::Result<u32> {
        self.sim.check_extension(capability)
    }

    fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()> {
        self.sim.irqfd(request)
    }

    fn ioeventfd(&self, request: &IoEventFdRequest<'_>) -> io::Result<()> {
        self.sim.ioeventfd(request)
    }

    fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()> {
        self.sim.set_gsi_routing(table)?;
        let in_force = self.in_force.lock();
        *in_force.unwrap_or_else(PoisonError::into_inner) = table.iter().collect();
        Ok(())
    }

    fn signal_msi(&self, message: &MsiMessage) -> io::Result<MsiOutcome> {
        self.sim.signal_msi(message)
    }

    fn irq_line_status(&self, gsi: u32, level: bool) -> io::Result<LineStatus> {
        self.sim.irq_line_status(gsi, level)
    }

    fn platform(&self) -> io::Result<Option<Platform>> {
        self.sim.platform()
    }

    fn routing_claim(&self) -> Option<&RoutingClaim> {
        self.sim.routing_claim()
    }
}

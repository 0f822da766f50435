// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Interrupts and doorbells over a port that has irqfds, ioeventfds and routes, and nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

mod adapter;
mod doorbells;
mod hypervisor;
mod lines;
mod vectors;

use std::sync::Arc;

use irq_routing::{Platform, RoutingTable, Wiring};
use notify_sim::{Profile, SimVm};

use adapter::Port;
use hypervisor::SimLayer;

/// The simulator, and a table over the port. The guest takes messages.
fn over_port(profile: Profile, wiring: Wiring) -> (Arc<SimVm>, RoutingTable) {
    let vm = Arc::new(SimVm::builder().profile(profile).build());
    vm.enable_lapic(0);
    let table = RoutingTable::builder(port(&vm)).wiring(wiring);
    (vm, table.build().unwrap())
}

fn port(vm: &Arc<SimVm>) -> Arc<Port> {
    Arc::new(Port {
        layer: Arc::new(SimLayer(Arc::clone(vm))),
        resample: 0,
    })
}

fn split() -> (Arc<SimVm>, RoutingTable) {
    over_port(
        Profile::X86Split { pins: 24 },
        Wiring::none(Platform::X86Split),
    )
}

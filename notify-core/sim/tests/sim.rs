// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The rules of `SimVm`, one test each, named after the rule.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "sim/bus.rs"]
mod bus;
#[path = "sim/common.rs"]
mod common;
#[path = "sim/counter.rs"]
mod counter;
#[path = "sim/doorbells.rs"]
mod doorbells;
#[path = "sim/irqfd.rs"]
mod irqfd;
#[path = "sim/lines.rs"]
mod lines;
#[path = "sim/other_machines.rs"]
mod other_machines;
#[path = "sim/port.rs"]
mod port;
#[path = "sim/resample.rs"]
mod resample;
#[path = "sim/routing.rs"]
mod routing;
#[path = "sim/vcpu.rs"]
mod vcpu;

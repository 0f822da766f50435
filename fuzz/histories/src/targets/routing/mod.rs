// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Routing tables under all operations: leases, lines, commits of several callers in a forced
//! order, translations, refusals, panics, snapshots.

mod actions;
mod acts;
mod armed;
mod call;
mod check;
mod each;
mod kernel;
#[cfg(target_arch = "x86_64")]
mod kvm;
mod model;
mod offer;
mod pool;
mod requests;
mod round;
mod step;
mod why;
mod world;

use crate::History;

pub use armed::Manner;
pub use kernel::Fault;
#[cfg(target_arch = "x86_64")]
pub use kvm::RoutingCommitsKvm;
pub use step::{Act, Ask, Crowd, Edit, Item, Rule, Step, Wait};
use world::World;

/// Tables in memory.
#[derive(Debug)]
pub enum RoutingCommits {}

impl History for RoutingCommits {
    type Step = Step;

    fn run(steps: &[Step]) {
        let mut world = World::new([None, None], false);
        steps.iter().for_each(|step| world.step(step));
    }
}

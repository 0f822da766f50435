// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest that writes anything to its MSI-X table and its MSI capability, while devices trigger,
//! the VMM exports and takes back, GSIs are scarce and requests fail: every interrupt comes once,
//! when it may, and with the message that its vector has.

mod arming;
mod compare;
mod gsis;
mod guest;
mod model;
mod registers;
mod step;
mod steps;
mod vectors;
mod world;

pub use step::{At, Bytes, Device, Into, Kind, Msi, Rare, Shape, Step, Table, Vmm, Whole};

use crate::History;
use world::World;

/// See the module.
#[derive(Debug)]
pub enum MsixGuest {}

impl History for MsixGuest {
    type Step = Step;

    fn run(steps: &[Step]) {
        let mut world = World::new(true, Shape::FIRST);
        world.set_up();
        for step in steps {
            world.step(step);
        }
        world.end();
    }
}

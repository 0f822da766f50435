// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest writes any values to its MSI-X table and its MSI capability. Meanwhile devices trigger,
//! the VMM exports vectors and takes them back, pauses and resumes, GSIs are scarce, and requests
//! fail. Each interrupt must arrive once, only while its vector is unmasked, and with its message.

mod access;
mod arming;
mod compare;
mod gsis;
mod guest;
mod line;
mod model;
mod pauses;
mod registers;
mod saves;
mod step;
mod steps;
mod vectors;
mod vmm;
mod world;

pub use access::{At, Bytes};
pub use step::{
    Damage, Device, Into, Kind, Msi, Pause, Rare, ResumeBatch, Shape, Step, Table, Vmm, Whole,
};

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

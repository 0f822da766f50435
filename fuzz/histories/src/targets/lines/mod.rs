// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Level-triggered lines on all kinds of interrupt controllers: devices join and leave, assert,
//! signal and wait for EOIs; lines are redirected, paused, saved, restored and built anew; guests
//! do what they like to their controllers; and requests fail. The model is the wire, and for the
//! controllers a second VM that gets bare requests. In the end each device that asserts is served.

mod check;
mod chip;
mod devices;
mod guest;
mod line;
mod lives;
mod machine;
mod mirror;
mod ops;
mod redirection;
mod saves;
mod step;
mod world;

use std::collections::BTreeMap;

pub use step::{Device, Entry, Guest, Kind, Op, Rare, Request, Sharer, Step};

use crate::History;
use world::World;

/// With which requests fail: ENOMEM.
const ERRNO: i32 = 12;

/// See the module.
#[derive(Debug)]
pub enum Lines {}

impl History for Lines {
    type Step = Step;

    fn run(steps: &[Step]) {
        let (mut worlds, mut kind) = (BTreeMap::new(), Kind::IoApic);
        for step in steps {
            if let Step::Rare(Rare::Use(other)) = step {
                kind = *other;
                continue;
            }
            let world = worlds.entry(kind);
            let world = world.or_insert_with(|| World::with_devices(kind));
            world.step(step);
            world.check();
        }
        worlds.into_values().for_each(World::end_of_all);
    }
}

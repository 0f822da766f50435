// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The rings of a device, and its back-ends: some in this process, and vhost-user daemons that
//! reply as they should, or not. Beside them are a driver and a device that share a ring, and a
//! model of all counters: no kick is lost or counted twice, and a call that fails changes nothing.
//!
//! A daemon does not run: its replies wait in the socket before they are needed, and its requests
//! are read afterwards. After a wrong reply it closes the connection, so nothing ever blocks.

mod backend;
mod device;
mod notifiers;
mod pairs;
mod peer;
mod step;
mod world;

pub use step::{Act, Fault, Reply, Source, Step, Which, Wrong};

use kvm_test::open_fds;

use crate::History;
use world::World;

/// See the module.
#[derive(Debug)]
pub enum Vhost {}

impl History for Vhost {
    type Step = Step;

    fn run(steps: &[Step]) {
        let before = open_fds().expect("procfs");
        let mut world = World::new();
        for step in steps {
            world.run(step.clone());
            world.look();
        }
        world.end();
        assert_eq!(open_fds().expect("procfs"), before, "descriptors stay open");
    }
}

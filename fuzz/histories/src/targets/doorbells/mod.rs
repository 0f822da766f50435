// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Two sets of doorbells of one VM, with faults, guest writes in the middle of changes, and
//! doorbells outside the sets. The bus, the match of exits and the model agree on every write, and
//! each kick is counted once in the right notifier.
//!
//! A queue has one notifier at a time, as the documentation of `Doorbell` requires, and the two
//! sets share none.

mod change;
mod lifecycle;
mod look;
mod machine;
mod model;
mod others;
mod plans;
mod rig;
mod spot;
mod step;
mod world;

pub use step::{Choice, Step, Wanted, Write};

use crate::History;
use rig::Rig;

/// See the module.
#[derive(Debug)]
pub enum Doorbells {}

impl History for Doorbells {
    type Step = Step;

    fn run(steps: &[Step]) {
        let mut rig = Rig::new();
        for step in steps {
            rig.run(step.clone());
            rig.look();
        }
        rig.end();
    }
}

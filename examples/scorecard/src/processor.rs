// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Pinned`]: a thread that stays on one processor.
//!
//! A small kernel ends the grace periods of SRCU by work on its first processor (`srcu_gp_end`),
//! and deassigning an irqfd waits for a grace period. If another processor waits, it has to wake
//! the first one. That costs more than all the rest where a hypervisor delivers the wake-up. So
//! rows that deassign irqfds are measured on both processors.

use std::error::Error;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The calling thread stays on a processor until this is dropped.
pub(crate) struct Pinned {
    before: CpuSet,
}

impl Pinned {
    /// Pins the thread to the first processor that it may use.
    pub(crate) fn to_first() -> Result<Self, Box<dyn Error>> {
        Self::to(|usable| usable.first())
    }

    /// Pins the thread to the last processor that it may use.
    pub(crate) fn to_last() -> Result<Self, Box<dyn Error>> {
        Self::to(|usable| usable.last())
    }

    fn to(choose: impl FnOnce(&[usize]) -> Option<&usize>) -> Result<Self, Box<dyn Error>> {
        let before = sched_getaffinity(this_thread())?;
        let usable = (0..CpuSet::count()).filter(|cpu| before.is_set(*cpu) == Ok(true));
        let usable: Vec<_> = usable.collect();
        let chosen = choose(&usable).ok_or("no processor")?;
        let mut one = CpuSet::new();
        one.set(*chosen)?;
        sched_setaffinity(this_thread(), &one)?;
        Ok(Self { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // If this fails, the rows that follow are measured there too.
        let _ = sched_setaffinity(this_thread(), &self.before);
    }
}

fn this_thread() -> Pid {
    Pid::from_raw(0)
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`ResumeBatch`]: vectors of many devices that are resumed together.

use std::sync::Arc;

use super::outcome::Outcome;
use super::{Start, Task, run};
use crate::vector::control::Masks;
use crate::vector::{Dead, Inner, VectorHandle};

/// Vectors of many devices that are resumed together: one commit for all of a routing table.
///
/// The batch holds a reference to each vector. Until [`run`](Self::run) its vectors are
/// [`Arming`](crate::VectorState::Arming) and keep triggers. Vectors with a queue are not part of
/// the batch: they are [`Queued`](crate::VectorState::Queued) from the call of `resume_in`.
///
/// Dropping the batch runs it, and blocks as [`run`](Self::run) does. Failures are logged, and are
/// in the states of the vectors.
///
/// ```
/// # use std::sync::Arc;
/// # use irq_routing::RoutingTable;
/// # use irqfd::{ResumeBatch, msix};
/// # use notify_sim::{CallKind, SimVm};
/// # let vm = Arc::new(SimVm::builder().build());
/// # vm.enable_lapic(0);
/// # let routing = RoutingTable::new(vm.clone())?;
/// # let table = |data: u64| -> Result<msix::Table, irqfd::VectorError> {
/// #     let table = msix::Table::builder(&routing).private_irqfd(true).build()?;
/// #     table.write(0, &0xfee0_0000_u64.to_le_bytes());
/// #     table.write(8, &data.to_le_bytes());
/// #     table.set_control(true, false);
/// #     Ok(table)
/// # };
/// # let devices = [table(0x40)?, table(0x41)?];
/// // The VMM has stopped its vCPUs and back-ends.
/// devices.iter().for_each(msix::Table::pause);
/// let snapshots = devices.each_ref().map(msix::Table::snapshot);
/// # for snapshot in snapshots { snapshot?; }
///
/// // Later: one commit for both devices.
/// let mut batch = ResumeBatch::default();
/// devices.iter().for_each(|device| device.resume_in(&mut batch));
/// for dead in batch.run() {
///     eprintln!("{dead}");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
#[must_use = "its vectors are armed when it is run or dropped"]
pub struct ResumeBatch {
    tasks: Vec<Task>,
    /// Those that send their message and are to be opened, each with its revision.
    internal: Vec<(Arc<Inner>, u64)>,
}

impl ResumeBatch {
    pub(crate) fn resume(&mut self, vector: &VectorHandle) {
        match vector.inner.remove_mask(Masks::PAUSE) {
            Start::Nothing => {}
            Start::OpenInternal { revision } => {
                self.internal.push((Arc::clone(&vector.inner), revision))
            }
            Start::Task(task) => self.tasks.push(task),
        }
    }

    /// Opens and arms the vectors. Returns those that could not be opened or armed.
    ///
    /// Makes one commit for each routing table, or none if the kernel still has all routes. Vectors
    /// with a queue are armed by the queue's owner, and may not be armed yet when this returns.
    /// Blocks for the ioctls, and for commits of other threads that are under way.
    pub fn run(mut self) -> Vec<Dead> {
        self.run_all().finish().dead
    }

    fn run_all(&mut self) -> Outcome {
        let mut outcome = Outcome::default();
        for (vector, revision) in std::mem::take(&mut self.internal) {
            // It may have joined another batch since, which opens it then.
            if vector.is_at_revision(revision) {
                vector.open_internal_in(&mut outcome);
            }
        }
        let mut tasks = std::mem::take(&mut self.tasks);
        while let Some(first) = tasks.first() {
            let table = first.table().clone();
            let of_one = |task: &Task| *task.table() == table;
            let (now, later) = tasks.into_iter().partition::<Vec<_>, _>(of_one);
            run(&now, None, &mut outcome);
            tasks = later;
        }
        outcome
    }
}

impl Drop for ResumeBatch {
    fn drop(&mut self) {
        self.run_all().forget();
    }
}

impl std::fmt::Debug for ResumeBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResumeBatch")
            .field("vectors", &(self.tasks.len() + self.internal.len()))
            .finish()
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How vectors are armed and opened, one or many.
//!
//! A vector with a notifier gets a GSI, a route and an irqfd: in this order, and the first two but
//! once. One that is armed may get another route. The routes of many are committed together. A
//! vector that sends its message gets it as the table's translation has it, and is opened. All of
//! this goes without the vector's lock, for one revision of the vector, see
//! [`control`](super::control).

mod batch;
mod internal;
mod opened;
mod outcome;
mod queue;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use irq_routing::Error::NotLeased;
use irq_routing::{EditOutcome, MessageEdit, RoutingTable};

use super::control::{Arm, Control, OwnGsi};
use super::{Dead, Inner};
use crate::VectorError;
use crate::sync::MutexGuard;
use crate::sync::atomic::Ordering;

pub use batch::ResumeBatch;
pub(crate) use opened::Opened;
use outcome::Outcome;
pub(super) use queue::Shared;
pub use queue::{ArmQueue, Round};

/// What is left to be done for a change, without the vector's lock.
#[must_use = "the vector waits for it"]
pub(super) enum Start {
    Nothing,
    /// An internal vector is to be opened, see [`Inner::open_internal`].
    OpenInternal {
        revision: u64,
    },
    /// A vector with a notifier is to be armed.
    Task(Task),
}

/// One revision of a vector that is to be armed.
pub(crate) struct Task {
    vector: Arc<Inner>,
    revision: u64,
    stage: Cell<Stage>,
}

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its route is to be staged.
    Fresh,
    /// Its route is in the commit of now.
    Staged,
    Done,
}

/// Since when a vector is armed for which a commit has succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Armed {
    Now,
    /// It has another message now.
    Before,
}

impl Task {
    /// For the revision that has just begun.
    pub(super) fn new(vector: &Arc<Inner>, control: &Control) -> Self {
        Self {
            vector: Arc::clone(vector),
            revision: control.revision,
            stage: Cell::new(Stage::Fresh),
        }
    }

    pub(super) fn table(&self) -> &RoutingTable {
        &self.vector.table
    }

    /// The vector, if nothing has changed since the revision began.
    pub(super) fn lock(&self) -> Option<MutexGuard<'_, Control>> {
        let control = self.vector.control.lock();
        (control.revision == self.revision).then_some(control)
    }

    /// Takes a GSI, and stages the route.
    fn stage_route(&self, outcome: &mut Outcome) -> Option<MessageEdit> {
        if self.stage.replace(Stage::Done) == Stage::Done {
            return None;
        }
        let mut control = self.lock()?;
        control.unpark();
        if control.lease().is_none() {
            drop(control);
            // Without the lock: it may wait for a commit.
            let free = match &outcome.no_gsi {
                Some(reason) => Err(reason.clone()),
                None => self.vector.free_gsi(),
            };
            outcome.no_gsi = free.as_ref().err().cloned();
            control = self.lock()?;
            match free {
                Ok(lease) => control.gsi = OwnGsi::Leased(lease),
                Err(reason) => {
                    control.gsi = OwnGsi::None;
                    self.finish(control, Err(reason), outcome);
                    return None;
                }
            }
        }
        let lease = control.lease()?;
        self.stage.set(Stage::Staged);
        let edit = lease.edit(control.message);
        Some(edit.owned_by(self.vector.device.owner))
    }

    /// Arms the vector now that its route was committed.
    fn arm_after_commit(&self, result: EditOutcome, outcome: &mut Outcome) {
        self.stage.set(Stage::Done);
        let Some(mut control) = self.lock() else {
            return;
        };
        let result = match result {
            // It was another message.
            EditOutcome::Committed | EditOutcome::Blocked if control.is_bound() => {
                Ok(Armed::Before)
            }
            EditOutcome::Committed | EditOutcome::Blocked => match self.vector.outlet.notifier() {
                Some(notifier) => {
                    self.vector.merge_pending(&control);
                    outcome
                        .guard(|| control.bind(&notifier))
                        .unwrap_or(Err(VectorError::Panicked))
                        .map(|()| Armed::Now)
                }
                // Not reached: that would have been another revision.
                None => Err(VectorError::Panicked),
            },
            EditOutcome::Failed(cause) if matches!(*cause, NotLeased { .. }) => {
                self.vector.unbind(&mut control, Control::give_up_gsi);
                return self.stage.set(Stage::Fresh);
            }
            EditOutcome::Failed(cause) => Err(VectorError::Route { cause }),
            EditOutcome::NotTried | EditOutcome::Superseded => return self.stage.set(Stage::Fresh),
            _ => Err(VectorError::Panicked),
        };
        self.finish(control, result, outcome);
    }

    /// Enters the vector in front of others, because its turn did not come. Returns false if the
    /// queue's owner is gone.
    fn enter_first(&self, queue: &Shared) -> bool {
        let Some(mut control) = self.lock() else {
            return true;
        };
        let entered = queue.push_first(&self.vector);
        if entered {
            control.arm = Arm::Queued(None);
            queue.wake();
        }
        entered
    }

    pub(super) fn finish(
        &self,
        mut control: MutexGuard<'_, Control>,
        result: Result<Armed, VectorError>,
        outcome: &mut Outcome,
    ) {
        let reason = match result {
            Ok(armed) => {
                outcome.armed += 1;
                let delivered = self.vector.deliver_pending(control);
                if armed == Armed::Now {
                    self.vector.observe_opened(delivered);
                }
                return;
            }
            Err(reason) => reason,
        };
        self.vector.kill(&mut control, reason.clone());
        outcome.died(&mut control, Dead::new(&self.vector, reason));
    }
}

impl Inner {
    /// Does what is left to be done for a change.
    pub(super) fn carry_out(self: &Arc<Self>, start: Start) -> Result<(), VectorError> {
        let mut outcome = Outcome::default();
        match start {
            Start::Nothing => {}
            Start::OpenInternal { .. } => {
                // Kept as it is, for a caller that wants to know why.
                return self
                    .open_internal()
                    .inspect_err(|reason| self.observe_refused(reason));
            }
            Start::Task(task) => run(std::slice::from_ref(&task), None, &mut outcome),
        }
        match outcome.finish().dead.pop() {
            Some(dead) => Err(dead.reason),
            None => Ok(()),
        }
    }

    /// The vector's entry was taken out of the queue. Returns what is to be done.
    pub(crate) fn begin_arming(self: &Arc<Self>) -> Option<Task> {
        let mut control = self.control.lock();
        if !matches!(control.arm, Arm::Queued(_)) {
            return None;
        }
        control.revision += 1;
        if !control.masks.is_none() {
            control.arm = Arm::Off;
            return None;
        }
        // It may have failed before.
        self.dead.store(false, Ordering::Relaxed);
        control.arm = Arm::Arming;
        Some(Task::new(self, &control))
    }
}

/// Commits the routes of all, which are of one table, and arms the irqfds. In a round of a queue,
/// what was not tried goes first in the next one; elsewhere it is tried until it was.
pub(crate) fn run(tasks: &[Task], queue: Option<&Arc<Shared>>, outcome: &mut Outcome) {
    let Some(first) = tasks.first() else {
        return;
    };
    let table = first.table();
    let outcome = RefCell::new(outcome);
    while tasks.iter().any(|task| task.stage.get() == Stage::Fresh) {
        outcome.borrow_mut().no_gsi = None;
        let stage = |task: &Task| task.stage_route(&mut outcome.borrow_mut());
        let mut staged = tasks
            .iter()
            .filter(|task| task.stage.get() == Stage::Staged);
        let arm_after_commit = |_, result| {
            if let Some(task) = staged.next() {
                task.arm_after_commit(result, &mut outcome.borrow_mut());
            }
        };
        let commit = || table.commit_each(tasks.iter().filter_map(stage), arm_after_commit);
        // All results have come then.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(commit)) {
            outcome.borrow_mut().panicked(panic);
        }
        // From the last one on, so that they keep their order.
        let fresh = |task: &&Task| task.stage.get() == Stage::Fresh;
        for task in tasks.iter().rev().filter(fresh) {
            if queue.is_some_and(|queue| task.enter_first(queue)) {
                task.stage.set(Stage::Done);
            }
        }
    }
}

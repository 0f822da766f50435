// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The committer: how vectors are armed and opened, one or many.
//!
//! An exported vector gets a GSI, a route and an irqfd: in this order, and the first two but once.
//! The routes of many are committed together. An internal vector gets its message, as the table's
//! translation has it, and is opened. All of this goes without the vector's lock, for one turn of
//! the vector, see [`control`](super::control).

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use irq_routing::{Answer, MessageEdit};

use super::control::{Arm, Control};
use super::{Dead, Inner};
use crate::Error;
use crate::queue::{Relay, Shared};
use crate::sync::MutexGuard;
use crate::sync::atomic::Ordering;

/// What is left to be done for a change, without the vector's lock.
#[must_use = "the vector waits for it"]
pub(super) enum Start {
    Nothing,
    /// An internal vector is to be opened, see [`Inner::settle`].
    Settle,
    /// An exported vector is to be armed.
    Task(Task),
}

/// One turn of a vector that is to be armed.
pub(crate) struct Task {
    vector: Arc<Inner>,
    turn: u64,
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

type Panic = Box<dyn Any + Send>;

/// What came of many vectors.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) armed: usize,
    pub(crate) dead: Vec<Dead>,
    /// Those of the dead that were not logged yet, by their places.
    unlogged: Vec<usize>,
    panic: Option<Panic>,
}

impl Task {
    /// For the turn that has just begun.
    pub(super) fn new(vector: &Arc<Inner>, control: &Control) -> Self {
        Self {
            vector: Arc::clone(vector),
            turn: control.turn,
            stage: Cell::new(Stage::Fresh),
        }
    }

    /// The vector, if nothing has changed since the turn began.
    pub(super) fn lock(&self) -> Option<MutexGuard<'_, Control>> {
        let control = self.vector.control.lock();
        (control.turn == self.turn).then_some(control)
    }

    /// Takes a GSI, and stages the route. If no GSI is free the vector's signals are relayed.
    fn stage(&self, queue: Option<&Arc<Shared>>, outcome: &mut Outcome) -> Option<MessageEdit> {
        if self.stage.replace(Stage::Done) == Stage::Done {
            return None;
        }
        let wants_gsi = self.lock().is_some_and(|control| control.lease.is_none());
        let lease = wants_gsi
            .then(|| self.vector.table.lease_if_free())
            .flatten();
        let lease = lease.map(|lease| match self.vector.device.name() {
            Some(name) => lease.named(Arc::clone(name)),
            None => lease,
        });
        let mut control = self.lock()?;
        if control.lease.is_none() {
            control.lease = lease;
        }
        if let Some(lease) = &control.lease {
            self.stage.set(Stage::Staged);
            let edit = lease.edit(control.message);
            return Some(edit.owned_by(self.vector.device.owner));
        }
        match queue {
            Some(queue) => {
                drop(control);
                self.relay(queue, outcome);
            }
            None => self.end(control, Err(self.vector.no_gsi()), outcome),
        }
        None
    }

    fn relay(&self, queue: &Arc<Shared>, outcome: &mut Outcome) {
        let vector = &self.vector;
        let (mut control, translated) = loop {
            let Some(control) = self.lock() else {
                return;
            };
            let (message, retranslated) = (control.message, control.retranslated);
            drop(control);
            let translate = || vector.signals().then(|| vector.table.translate(message));
            let translated = outcome.guard(translate);
            let Some(control) = self.lock() else {
                return;
            };
            // Otherwise it may be an old translation.
            if control.retranslated == retranslated {
                break (control, translated);
            }
        };
        let relay = match (translated, vector.exported.get()) {
            (Some(Some(translated)), Some(notifier)) => {
                vector.sent.store(translated);
                Relay::new(queue, vector, notifier).map_err(|source| Error::Relay { source })
            }
            (Some(None), _) => Err(vector.no_gsi()),
            _ => Err(Error::Abandoned),
        };
        match relay {
            Ok(relay) => control.arm = Arm::Relayed(relay),
            Err(error) => self.end(control, Err(error), outcome),
        }
    }

    /// Arms the vector now that its route was committed.
    fn conclude(&self, answer: Answer, outcome: &mut Outcome) {
        self.stage.set(Stage::Done);
        let Some(mut control) = self.lock() else {
            return;
        };
        let result = match answer {
            Answer::Committed | Answer::Blocked => match self.vector.exported.get() {
                Some(notifier) => outcome
                    .guard(|| control.bind(&notifier))
                    .unwrap_or(Err(Error::Abandoned)),
                // Not reached: that would have been another turn.
                None => Err(Error::NoLease),
            },
            Answer::Failed(source) => Err(Error::Commit { source }),
            Answer::NotTried | Answer::Superseded => return self.stage.set(Stage::Fresh),
            _ => Err(Error::Abandoned),
        };
        self.end(control, result, outcome);
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

    pub(super) fn end(
        &self,
        mut control: MutexGuard<'_, Control>,
        result: Result<(), Error>,
        outcome: &mut Outcome,
    ) {
        let reason = match result {
            Ok(()) => {
                outcome.armed += 1;
                return;
            }
            Err(reason) => Arc::new(reason),
        };
        match std::mem::take(&mut control.arm) {
            // It was relayed until now. Its GSI stays, for the next round.
            Arm::Arming(Some(relay)) if reason.is_transient() => {
                control.arm = Arm::Relayed(relay);
                if let Some(queue) = &self.vector.queue {
                    queue.retry_later();
                }
            }
            _ => self.vector.kill(&mut control, Arc::clone(&reason)),
        }
        outcome.died(&mut control, Dead::new(&self.vector, reason));
    }
}

/// What a queue's round does with its entries.
impl Inner {
    /// The vector's entry was taken out of the queue. Returns what is to be done.
    pub(crate) fn begin_round(self: &Arc<Self>) -> Option<Task> {
        let mut control = self.control.lock();
        if !matches!(control.arm, Arm::Queued(_)) {
            return None;
        }
        control.turn += 1;
        if control.masked {
            control.arm = Arm::Off;
            return None;
        }
        // It may have failed before.
        self.dead.store(false, Ordering::Relaxed);
        control.arm = Arm::Arming(None);
        Some(Task::new(self, &control))
    }

    /// A relayed vector is to be armed, now that a GSI may be free. Returns an error if none is.
    pub(crate) fn begin_arming_relayed(self: &Arc<Self>) -> Result<Option<Task>, NoGsi> {
        // Without the lock: it may wait for a commit.
        let has_lease = self.control.lock().lease.is_some();
        let lease = match has_lease {
            true => None,
            false => Some(self.table.lease_if_free().ok_or(NoGsi)?),
        };
        let mut control = self.control.lock();
        match std::mem::take(&mut control.arm) {
            Arm::Relayed(relay) => {
                control.turn += 1;
                control.arm = Arm::Arming(Some(relay));
                control.lease = control.lease.take().or(lease);
                Ok(Some(Task::new(self, &control)))
            }
            other => {
                control.arm = other;
                Ok(None)
            }
        }
    }
}

/// No GSI is free.
pub(crate) struct NoGsi;

impl Outcome {
    /// Calls what may panic, against its contract: the VM or the table's translation. The panic
    /// goes on when all other vectors are done with.
    pub(crate) fn guard<T>(&mut self, call: impl FnOnce() -> T) -> Option<T> {
        let result = catch_unwind(AssertUnwindSafe(call));
        result.map_err(|panic| self.panicked(panic)).ok()
    }

    fn panicked(&mut self, panic: Panic) {
        match self.panic {
            None => self.panic = Some(panic),
            // Its payload may panic when it is dropped.
            Some(_) => std::mem::forget(panic),
        }
    }

    /// A vector is dead. That is logged once for each vector, without its lock.
    pub(super) fn died(&mut self, control: &mut Control, dead: Dead) {
        if !std::mem::replace(&mut control.logged, true) {
            self.unlogged.push(self.dead.len());
        }
        self.dead.push(dead);
    }

    fn log(&self) {
        for dead in self
            .unlogged
            .iter()
            .filter_map(|place| self.dead.get(*place))
        {
            log::warn!("{dead}");
        }
    }

    /// The same as [`finish`](Self::finish) where nothing may panic: a panic is dropped.
    pub(crate) fn forget(mut self) {
        self.log();
        std::mem::forget(self.panic.take());
    }

    /// Hands over what came of them, or goes on with a panic.
    pub(crate) fn finish(self) -> Self {
        self.log();
        match self.panic {
            Some(panic) => resume_unwind(panic),
            None => self,
        }
    }
}

/// Commits the routes of all, and arms the irqfds. In a round of a queue, what was not tried goes
/// first in the next one; elsewhere it is tried until it was.
pub(crate) fn run(tasks: &[Task], queue: Option<&Arc<Shared>>, outcome: &mut Outcome) {
    let Some(first) = tasks.first() else {
        return;
    };
    let table = &first.vector.table;
    let outcome = RefCell::new(outcome);
    while tasks.iter().any(|task| task.stage.get() == Stage::Fresh) {
        let stage = |task: &Task| task.stage(queue, &mut outcome.borrow_mut());
        let mut staged = tasks
            .iter()
            .filter(|task| task.stage.get() == Stage::Staged);
        let conclude = |_, answer| {
            if let Some(task) = staged.next() {
                task.conclude(answer, &mut outcome.borrow_mut());
            }
        };
        let commit = || table.commit_each(tasks.iter().filter_map(stage), conclude);
        // All answers have come then.
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

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Outcome`]: the result for many vectors that were to be armed or opened.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::VectorError;
use crate::vector::Dead;
use crate::vector::control::Control;

type Panic = Box<dyn Any + Send>;

/// The result for many vectors.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) armed: usize,
    pub(crate) dead: Vec<Dead>,
    /// Why no GSI was free: the others get none either, and do not wait for commits to learn that.
    pub(in crate::vector) no_gsi: Option<VectorError>,
    /// Those of the dead that were not logged yet, by their places.
    unlogged: Vec<usize>,
    panic: Option<Panic>,
}

impl Outcome {
    /// Calls what may panic, against its contract: the VM or the table's translation. The panic
    /// goes on when all other vectors are done with.
    pub(crate) fn guard<T>(&mut self, call: impl FnOnce() -> T) -> Option<T> {
        let result = catch_unwind(AssertUnwindSafe(call));
        result.map_err(|panic| self.panicked(panic)).ok()
    }

    pub(in crate::vector) fn panicked(&mut self, panic: Panic) {
        match self.panic {
            None => self.panic = Some(panic),
            // Its payload may panic when it is dropped.
            Some(_) => std::mem::forget(panic),
        }
    }

    /// A vector is dead. That is logged once for each vector, without its lock.
    pub(in crate::vector) fn died(&mut self, control: &mut Control, dead: Dead) {
        if !std::mem::replace(&mut control.logged, true) {
            self.unlogged.push(self.dead.len());
        }
        self.dead.push(dead);
    }

    /// Reports the dead to the table's observer and, once for each vector, to the log. Called
    /// without a lock.
    fn report(&self) {
        for dead in &self.dead {
            dead.vector.inner.observe_refused(&dead.reason);
        }
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
        self.report();
        std::mem::forget(self.panic.take());
    }

    /// Returns the result, or resumes a panic.
    pub(crate) fn finish(self) -> Self {
        self.report();
        match self.panic {
            Some(panic) => resume_unwind(panic),
            None => self,
        }
    }
}

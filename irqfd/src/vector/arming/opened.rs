// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Opened`]: vectors that one access of the guest opens.

use std::sync::atomic::{AtomicU64, Ordering};

use irq_routing::MsiMessage;

use super::outcome::Outcome;
use super::{Start, Task, run};
use crate::VectorError;
use crate::vector::{Dead, VectorHandle};

/// Vectors that one access of the guest opens.
///
/// A write to a register opens them, under the lock that orders such writes. All that may take a
/// while is done without that lock, in [`run`](Self::run), so that a mask does not wait for it. If
/// this is dropped before, because of a panic, its vectors are dead.
#[must_use = "what was opened is not armed until it is run"]
pub(crate) struct Opened<'a> {
    /// Those of the device.
    vectors: &'a [VectorHandle],
    tasks: Vec<Task>,
    /// Internal ones, as many as an access to the table can open. If there are more, all vectors
    /// are looked at, so that no access allocates.
    internal: [Option<&'a VectorHandle>; 2],
    more: bool,
    /// Identifies the access in its vectors.
    access: u64,
}

impl<'a> Opened<'a> {
    #[inline]
    pub(crate) fn of(vectors: &'a [VectorHandle]) -> Self {
        Self {
            vectors,
            tasks: Vec::new(),
            internal: [None; 2],
            more: false,
            access: 0,
        }
    }

    /// Identifies the access in its vectors. Most accesses open none.
    fn access(&mut self) -> u64 {
        static LAST: AtomicU64 = AtomicU64::new(0);
        if self.access == 0 {
            self.access = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        }
        self.access
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.tasks.is_empty() && matches!(self.internal, [None, _]) && !self.more
    }

    /// Gives a masked vector its message and unmasks it.
    pub(crate) fn unmask(&mut self, vector: &'a VectorHandle, message: MsiMessage) {
        let access = self.access();
        let start = vector.inner.begin_unmask_with(message, access);
        self.add(vector, start);
    }

    /// Makes a vector that is not masked send another message.
    pub(crate) fn retarget(&mut self, vector: &'a VectorHandle, message: MsiMessage) {
        if vector.message() != message {
            let access = self.access();
            let start = vector.inner.begin_set_message(message, access);
            self.add(vector, start);
        }
    }

    fn add(&mut self, vector: &'a VectorHandle, start: Start) {
        match start {
            Start::Nothing => {}
            Start::Task(task) => self.tasks.push(task),
            Start::OpenInternal { .. } => {
                match self.internal.iter_mut().find(|place| place.is_none()) {
                    Some(place) => *place = Some(vector),
                    None => self.more = true,
                }
            }
        }
    }

    /// The internal ones that this access has opened, unless another one has unmasked them since.
    fn internal(&self) -> impl Iterator<Item = &'a VectorHandle> {
        let (few, access) = (self.internal.into_iter().flatten(), self.access);
        let all = if self.more { self.vectors } else { &[] };
        let all = all.iter();
        few.chain(all.filter(move |vector| vector.inner.control.lock().access == access))
    }

    /// Arms and opens them. Returns those for which that failed.
    #[inline]
    pub(crate) fn run(mut self) -> Vec<Dead> {
        if self.is_empty() {
            // Most accesses: there is nothing to be dropped either.
            std::mem::forget(self);
            return Vec::new();
        }
        let mut outcome = Outcome::default();
        for vector in self.internal() {
            vector.inner.open_internal_in(&mut outcome);
        }
        (self.internal, self.more) = ([None; 2], false);
        run(&std::mem::take(&mut self.tasks), None, &mut outcome);
        outcome.finish().dead
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        for task in &self.tasks {
            if let Some(control) = task.lock() {
                task.finish(control, Err(VectorError::Panicked), &mut Outcome::default());
            }
        }
        self.internal().for_each(|vector| vector.inner.abandon());
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Backlog`]: what is ready and has not been served; [`Stop`]: a request to return.

use std::collections::VecDeque;

use super::sync::{AtomicBool, Ordering};

/// What is ready, in the order in which it is served.
///
/// The kernel reports only once that something is ready. So the list outlives a turn, and a run:
/// what a request to stop left unserved is served by the next run.
#[derive(Debug)]
pub(crate) struct Backlog<T>(VecDeque<T>);

/// Whether something stays ready after it was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Served {
    /// It is done.
    Done,
    /// There may be more, which the kernel does not report: it goes to the end of the list.
    Again,
}

impl<T> Backlog<T> {
    #[allow(clippy::new_without_default, reason = "it is made in one place")]
    pub(crate) fn new() -> Self {
        Self(VecDeque::new())
    }

    pub(crate) fn push(&mut self, ready: T) {
        self.0.push_back(ready);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Serves what is there now, each once, at most `most` of them, and none after a request to
    /// stop.
    pub(crate) fn serve_each_once(
        &mut self,
        most: usize,
        stop: &Stop,
        mut serve: impl FnMut(&T) -> Served,
    ) {
        for _ in 0..self.0.len().min(most) {
            if stop.is_requested() {
                return;
            }
            let Some(ready) = self.0.pop_front() else {
                return;
            };
            if serve(&ready) == Served::Again {
                self.0.push_back(ready);
            }
        }
    }
}

/// Asks the thread that runs a dispatcher, or will run it next, to return.
///
/// The caller wakes that thread afterwards, and that thread looks each time it was woken.
#[derive(Debug)]
pub(crate) struct Stop(AtomicBool);

impl Stop {
    #[allow(clippy::new_without_default, reason = "it is made in one place")]
    pub(crate) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Makes the request. Two requests before one is taken count as one.
    pub(crate) fn request(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Returns whether there is a request, which stays.
    pub(crate) fn is_requested(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Takes the request. Returns whether there was one.
    pub(crate) fn take(&self) -> bool {
        self.is_requested() && self.0.swap(false, Ordering::AcqRel)
    }
}

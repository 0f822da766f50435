// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Backlog`]: what is ready and has not been served.

use std::collections::VecDeque;

use super::stop::Stop;

/// What is ready, in the order in which it is served.
///
/// The kernel says only once that something is ready. So the list outlives a turn, and a run: what a
/// request to stop left unserved is served by the next run.
#[derive(Debug)]
pub struct Backlog<T>(VecDeque<T>);

/// Whether something stays ready after it was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// It is done.
    Done,
    /// There may be more, and the kernel does not say so: it goes to the end of the list.
    Again,
}

impl<T> Backlog<T> {
    #[allow(clippy::new_without_default, reason = "it is made in one place")]
    pub fn new() -> Self {
        Self(VecDeque::new())
    }

    pub fn push(&mut self, ready: T) {
        self.0.push_back(ready);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Serves what is there now, each once, at most so many, and nothing more once a stop is requested.
    pub fn turn(&mut self, most: usize, stop: &Stop, mut serve: impl FnMut(&T) -> Served) {
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

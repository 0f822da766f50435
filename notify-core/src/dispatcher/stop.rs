// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Stop`]: a request that is answered once.

use super::sync::{AtomicBool, Ordering};

/// Asks the thread that runs a dispatcher, or will run it next, to return.
///
/// Whoever asks wakes that thread afterwards, and that thread looks after each time it was woken.
#[derive(Debug)]
pub struct Stop(AtomicBool);

impl Stop {
    #[allow(clippy::new_without_default, reason = "it is made in one place")]
    pub fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Asks. Asked twice before the answer, it is answered once.
    pub fn request(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it is asked for; the request stands.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Answers: whether it was asked for.
    pub fn answer(&self) -> bool {
        self.is_requested() && self.0.swap(false, Ordering::AcqRel)
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a failed call changes nevertheless, and why.

use super::run::What;

/// An operation and a call of it whose failure is seen afterwards.
#[derive(Debug)]
pub(super) struct Exception {
    /// Part of the trial's name.
    pub(super) operation: &'static str,
    call: &'static str,
    what: What,
    reason: &'static str,
}

impl Exception {
    pub(super) fn is_of(&self, name: &str, call: &str, what: What) -> bool {
        name.contains(self.operation) && call == self.call && what == self.what
    }
}

pub(super) const EXCEPTIONS: [Exception; 0] = [];

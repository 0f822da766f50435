// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a failed call changes nevertheless, and why.

use nix::errno::Errno;

use super::ledger::Seen;
use super::run::What;

/// Operations and calls of them whose failure is seen afterwards.
#[derive(Debug)]
pub(super) struct Exception {
    /// Parts of the names of trials.
    operations: &'static [&'static str],
    /// The calls, perhaps with an errno.
    calls: &'static [&'static str],
    what: What,
    reason: &'static str,
}

impl Exception {
    /// The calls of it that a trial needs.
    pub(super) fn calls_of(&self, trial: &str) -> &'static [&'static str] {
        let is_it = self.operations.iter().any(|part| trial.contains(part));
        if is_it { self.calls } else { &[] }
    }

    pub(super) fn is_of(&self, call: &str, seen: &Seen, errno: Errno, what: What) -> bool {
        let seen = seen.to_string();
        what == self.what && (call == seen || call == format!("{seen} {errno:?}"))
    }

    pub(super) fn reason(&self) -> &'static str {
        self.reason
    }
}

pub(super) const EXCEPTIONS: [Exception; 0] = [];

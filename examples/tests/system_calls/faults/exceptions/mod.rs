// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a failed call changes nevertheless, and why.

mod interrupts;
mod others;

use super::run::{Failing, What};

/// Operations and calls of them whose failure is seen afterwards.
#[derive(Debug)]
pub(super) struct Exception {
    /// Parts of the names of trials.
    operations: &'static [&'static str],
    /// The calls, perhaps with an errno.
    calls: &'static [&'static str],
    what: &'static [What],
    /// Each line that differs has one of these, and each is in a line. With none all may differ.
    only: &'static [&'static str],
    reason: &'static str,
}

impl Exception {
    /// The calls of it that a trial needs.
    pub(super) fn calls_of(&self, trial: &str) -> &'static [&'static str] {
        let is_it = self.operations.iter().any(|part| trial.contains(part));
        if is_it { self.calls } else { &[] }
    }

    pub(super) fn is_of(&self, call: &str, failing: &Failing, what: What, finding: &str) -> bool {
        let seen = failing.place.1.to_string();
        let is_call = call == seen || call == format!("{seen} {:?}", failing.fault.errno);
        let is_allowed = |line: &str| self.only.iter().any(|part| line.contains(part));
        let is_all = self.only.is_empty() || finding.lines().all(is_allowed);
        let is_all = is_all && self.only.iter().all(|part| finding.contains(part));
        is_call && self.what.contains(&what) && is_all
    }

    /// Checks that each operation is part of the name of a trial.
    pub(super) fn check(&self, trials: &[String]) {
        for part in self.operations {
            let is_there = trials.iter().any(|trial| trial.contains(part));
            assert!(is_there, "no trial has {part:?} in its name");
        }
    }

    pub(super) fn reason(&self) -> &'static str {
        self.reason
    }
}

pub(super) fn all() -> impl Iterator<Item = &'static Exception> {
    interrupts::EXCEPTIONS.iter().chain(&others::EXCEPTIONS)
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Report`]: all that is known of a table.

use std::collections::BTreeMap;

use irq_routing::{Dump, Explanation, Hint, Problem};

use crate::ranges::gaps;

#[derive(Debug)]
pub(crate) struct Report {
    /// Where the table is from, for a person.
    pub(crate) source: String,
    /// The same for a script: `kvm`, `sim` or `dump`.
    pub(crate) backend: &'static str,
    pub(crate) dump: Dump,
    /// Of every GSI that leads somewhere.
    pub(crate) explanations: BTreeMap<u32, Explanation>,
    pub(crate) problems: Vec<Problem>,
}

impl Report {
    pub(crate) fn new(source: String, backend: &'static str, dump: Dump) -> Self {
        let (explanations, problems) = (dump.explain_all(), dump.problems());
        Self {
            source,
            backend,
            dump,
            explanations,
            problems,
        }
    }

    pub(crate) fn of_dump(source: String, dump: Dump) -> Self {
        Self::new(source, "dump", dump)
    }

    /// The GSIs of the machine that lead nowhere.
    pub(crate) fn nowhere(&self) -> Vec<(u32, u32)> {
        gaps(self.explanations.keys().copied(), self.dump.limit())
    }

    /// Whether the kernel would refuse the table.
    pub(crate) fn is_refused(&self) -> bool {
        self.problems.iter().any(Problem::is_refused)
    }

    /// What becomes of a signal of one GSI, whether it leads anywhere or not.
    pub(crate) fn explain(&self, gsi: u32) -> Explanation {
        let known = self.explanations.get(&gsi).cloned();
        known.unwrap_or_else(|| self.dump.explain(gsi))
    }
}

/// Whether a hint is about something unusual; some are true of every route of a kind.
pub(crate) fn is_odd(hint: &Hint) -> bool {
    !matches!(
        hint,
        Hint::Untold | Hint::Its | Hint::NeverLowered | Hint::FirstEdgeAlone
    )
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Report`]: everything that is known about a table.

use std::collections::{BTreeMap, BTreeSet};

use irq_routing::{Dump, DumpTarget, Explanation, Platform, Problem};

use crate::ranges::gaps;

#[derive(Debug)]
pub(crate) struct Report {
    /// Where the table is from, for people.
    pub(crate) source: String,
    /// The same for scripts: `kvm`, `sim` or `dump`.
    pub(crate) backend: &'static str,
    pub(crate) dump: Dump,
    /// How a signal of each GSI with a route reaches the guest.
    pub(crate) travels: BTreeMap<u32, Travel>,
    pub(crate) problems: Vec<Problem>,
}

impl Report {
    pub(crate) fn new(source: String, backend: &'static str, dump: Dump) -> Self {
        let gsis = dump.entries().iter().map(|entry| entry.gsi);
        let travels = gsis.map(|gsi| (gsi, Travel::of(&dump.explain(gsi))));
        let (travels, problems) = (travels.collect(), dump.problems());
        Self {
            source,
            backend,
            dump,
            travels,
            problems,
        }
    }

    pub(crate) fn of_dump(source: String, dump: Dump) -> Self {
        Self::new(source, "dump", dump)
    }

    /// The GSIs of the VM without a route, as ranges.
    pub(crate) fn nowhere(&self) -> Vec<(u32, u32)> {
        gaps(self.travels.keys().copied(), self.dump.limit())
    }

    /// Whether the kernel would refuse the table.
    pub(crate) fn is_refused(&self) -> bool {
        self.problems.iter().any(Problem::is_refused)
    }

    /// How a signal of one GSI reaches the guest; the GSI may have no route.
    pub(crate) fn travel(&self, gsi: u32) -> Travel {
        let known = self.travels.get(&gsi).cloned();
        known.unwrap_or_else(|| Travel::of(&self.dump.explain(gsi)))
    }

    /// The GSIs for which the dump has only the kind of an entry.
    pub(crate) fn untold(&self) -> BTreeSet<u32> {
        let entries = self.dump.entries().iter();
        let untold = entries.filter(|entry| matches!(entry.target, DumpTarget::Untold(_)));
        untold.map(|entry| entry.gsi).collect()
    }

    /// Whether a hint about a GSI is about something unusual. Hints on platforms other than x86 are
    /// true of every route of a kind, and so is the hint that the dump has too little.
    pub(crate) fn has_odd_hints(&self, travel: &Travel, is_untold: bool) -> bool {
        let is_x86 = matches!(self.dump.platform(), Platform::X86 | Platform::X86Split);
        is_x86 && !is_untold && !travel.hints.is_empty()
    }
}

/// The parts of an explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Travel {
    /// `on the spot`, `by a worker thread (a pin)`, `lost` or `unknown`.
    pub(crate) how: String,
    /// What it is delivered to, or why it is lost.
    pub(crate) what: String,
    pub(crate) is_lost: bool,
    pub(crate) hints: Vec<String>,
}

impl Travel {
    fn of(explanation: &Explanation) -> Self {
        let text = format!("{explanation:#}");
        let mut lines = text.lines();
        let way = lines.next().unwrap_or_default();
        let (how, what) = way.split_once(": ").unwrap_or((way, ""));
        Self {
            how: how.to_owned(),
            what: what.to_owned(),
            is_lost: explanation.is_lost(),
            hints: lines.map(str::to_owned).collect(),
        }
    }

    /// In one line.
    pub(crate) fn words(&self) -> String {
        let Self { how, what, .. } = self;
        format!("{how}: {what}")
    }

    /// The same as `how`, without the reason.
    pub(crate) fn short(&self) -> &'static str {
        match &self.how[..] {
            "on the spot" => "on the spot",
            "lost" => "LOST",
            how if how.starts_with("by a worker") => "by a worker",
            _ => "unknown",
        }
    }
}

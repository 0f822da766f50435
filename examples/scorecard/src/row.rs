// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Row`]: ours, the alternative, and their ratio.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use examples::width::hang;
use serde_json::{Value, json};

use crate::unit::Unit;

/// Width of the column with the names, and of those with numbers.
const NAME: usize = 30;
const VALUE: usize = 12;

/// One comparison: medians over interleaved runs.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) unit: Unit,
    /// The name of the alternative.
    pub(crate) other: &'static str,
    /// The cost of one operation with our crates.
    pub(crate) ours: f64,
    pub(crate) others: f64,
    /// How it was measured, and other counts.
    pub(crate) note: Cow<'static, str>,
}

/// A row that cannot be measured here, and why.
#[derive(Debug)]
pub(crate) struct Missing(pub(crate) String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Missing {}

impl Row {
    /// Nanoseconds against nanoseconds.
    pub(crate) fn times(
        other: &'static str,
        ours: f64,
        others: f64,
        note: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(Unit::Nanoseconds, other, ours, others, note.into())
    }

    /// Bytes against bytes.
    pub(crate) fn bytes(
        other: &'static str,
        ours: f64,
        others: f64,
        note: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(Unit::Bytes, other, ours, others, note.into())
    }

    fn new(
        unit: Unit,
        other: &'static str,
        ours: f64,
        others: f64,
        note: Cow<'static, str>,
    ) -> Self {
        Self {
            unit,
            other,
            ours,
            others,
            note,
        }
    }

    pub(crate) fn ratio(&self) -> f64 {
        self.ours / self.others
    }

    /// The heading of each group of rows.
    pub(crate) fn headings(group: &str) -> String {
        format!("{group:<NAME$}{:>VALUE$}{:>VALUE$}", "ours", "other")
    }

    /// A line of the table, folded.
    pub(crate) fn to_line(&self, name: &str, width: usize) -> String {
        let (ours, others) = (self.unit.show(self.ours), self.unit.show(self.others));
        let words = self.unit.compare(self.ours, self.others);
        let name = format!("  {name}");
        let line = format!(
            "{name:<NAME$}{ours:>VALUE$}{others:>VALUE$}  {words} {}",
            self.other
        );
        hang(&line, width, NAME + 2 * VALUE + 2)
    }

    /// The note, folded, if there is one.
    pub(crate) fn to_note(&self, width: usize) -> Option<String> {
        let note = format!("      {}", self.note);
        (!self.note.is_empty()).then(|| hang(&note, width, 6))
    }

    pub(crate) fn to_json(&self, group: &str, name: &str) -> Value {
        let unit = self.unit.name();
        json!({
            "group": group,
            "name": name,
            format!("ours_{unit}"): self.ours,
            "other": self.other,
            format!("other_{unit}"): self.others,
            "ratio": self.ratio(),
            "note": self.note,
        })
    }
}

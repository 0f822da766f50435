// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Row`]: ours, the alternative, and their ratio.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use serde_json::{Value, json};

/// One comparison: medians over interleaved runs.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) unit: Unit,
    /// What ours is compared with.
    pub(crate) other: &'static str,
    /// How much one of what the row is about takes.
    pub(crate) ours: f64,
    pub(crate) others: f64,
    /// What a reader must know of how it came about.
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

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Nanoseconds,
    Bytes,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Bytes => "bytes",
        }
    }
}

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

    pub(crate) fn headings() -> String {
        format!(
            "{:<28}{:>14}{:>14}{:>9}  {}",
            "", "ours", "other", "ratio", "other"
        )
    }

    pub(crate) fn to_line(&self, name: &str) -> String {
        let (ours, others, unit, ratio) = (self.ours, self.others, self.unit.name(), self.ratio());
        let numbers = format!("{name:<28}{ours:>14.1}{others:>14.1}{ratio:>9.3}");
        if self.note.is_empty() {
            format!("{numbers}  {unit}; {}", self.other)
        } else {
            format!("{numbers}  {unit}; {} ({})", self.other, self.note)
        }
    }

    pub(crate) fn to_json(&self, name: &str) -> Value {
        let unit = self.unit.name();
        json!({
            "name": name,
            format!("ours_{unit}"): self.ours,
            "other": self.other,
            format!("other_{unit}"): self.others,
            "ratio": self.ratio(),
            "note": self.note,
        })
    }
}

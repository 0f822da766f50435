// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Row`]: ours, the alternative, and their ratio.

use serde_json::{Value, json};

/// One comparison: medians over interleaved runs.
#[derive(Debug)]
pub(crate) struct Row {
    /// What ours is compared with.
    pub(crate) other: &'static str,
    /// Nanoseconds for one of what the row is about.
    pub(crate) ours_ns: f64,
    pub(crate) other_ns: f64,
    /// What a reader must know of how it came about.
    pub(crate) note: &'static str,
}

impl Row {
    fn ratio(&self) -> f64 {
        self.ours_ns / self.other_ns
    }

    pub(crate) fn headings() -> String {
        format!(
            "{:<22}{:>14}{:>14}{:>9}  {}",
            "", "ours, ns", "other, ns", "ratio", "other"
        )
    }

    pub(crate) fn to_line(&self, name: &str) -> String {
        let (ours, other, ratio) = (self.ours_ns, self.other_ns, self.ratio());
        let numbers = format!("{name:<22}{ours:>14.1}{other:>14.1}{ratio:>9.3}");
        if self.note.is_empty() {
            format!("{numbers}  {}", self.other)
        } else {
            format!("{numbers}  {} ({})", self.other, self.note)
        }
    }

    pub(crate) fn to_json(&self, name: &str) -> Value {
        json!({
            "name": name,
            "ours_ns": self.ours_ns,
            "other": self.other,
            "other_ns": self.other_ns,
            "ratio": self.ratio(),
            "note": self.note,
        })
    }
}

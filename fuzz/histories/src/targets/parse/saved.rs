// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Reads a saved state in JSON, and writes it again.

use std::fmt::{Debug, Display};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Reading;
use super::memory::bounded;
use super::tree::Tree;

/// What was read.
pub(super) struct Known<T> {
    pub(super) snapshot: T,
    /// What is written of it; `None` if it is of another version, of which nothing is written.
    pub(super) value: Option<Value>,
}

/// Reads a state whose known version is `version`. What is read is written, and read as the same.
pub(super) fn read<T>(reading: &Reading<'_>, version: u32) -> Option<Known<T>>
where
    T: Debug + PartialEq + Serialize + DeserializeOwned,
{
    let text = reading.text;
    let read = bounded(text.len(), || serde_json::from_slice::<T>(text));
    let other = reading.tree.and_then(only_version);
    let other = other.filter(|other| *other != version);
    let as_value = serde_json::from_slice::<Value>(text);
    if other.is_some() && as_value.is_ok() {
        let is_unknown = read
            .as_ref()
            .is_ok_and(|read| serde_json::to_value(read).is_err());
        assert!(is_unknown, "another version is not recognised: {read:?}");
    }
    assert!(read.is_ok() || !reading.valid, "refused: {read:?}");
    let snapshot = read.ok()?;
    // The fields in another order. A value takes no list for a variant with fields, as text does.
    if let Some(by_value) = as_value
        .ok()
        .and_then(|value| serde_json::from_value::<T>(value).ok())
    {
        assert_eq!(by_value, snapshot);
    }
    let value = serde_json::to_value(&snapshot).ok();
    if let Some(value) = &value {
        assert_eq!(value["version"], version);
        let text = serde_json::to_string(&snapshot).expect("as above");
        let again = serde_json::from_str::<T>(&text).expect("it was written");
        assert_eq!(again, snapshot);
    }
    Some(Known { snapshot, value })
}

/// The version of a document that has it once, by its name, and first.
fn only_version(document: &Tree) -> Option<u32> {
    let Tree::Map(fields) = document else {
        return None;
    };
    let mut versions = fields.iter().filter(|(name, _)| name == "version");
    match (fields.first(), versions.nth(1)) {
        (Some((name, Tree::Atom(version))), None) if name == "version" => version.parse().ok(),
        _ => None,
    }
}

/// Checks the text of an error: one line that is not too long, whatever was read.
pub(super) fn expect_short(error: &impl Display) {
    let text = error.to_string();
    assert!(!text.is_empty() && text.len() < 1000, "{text}");
    assert!(!text.contains(char::is_control), "{text:?}");
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Small worlds, checked whole: all doorbells within a few bytes, all sets of a few of them, all
//! writes.
//!
//! With `WHOLE_WORLDS=1` also the large ones, which take many minutes in release.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

mod devices;
mod pairs;
mod sets;
mod world;

/// Whether the worlds that take many minutes are wanted.
fn whole() -> bool {
    std::env::var_os("WHOLE_WORLDS").is_some_and(|value| value != "0")
}

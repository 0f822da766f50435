// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Small worlds, checked whole: a table of four GSIs and four entries, all short histories, and a
//! refusal of each ioctl.
//!
//! With `WHOLE_WORLDS=1` also the long histories, which take many minutes in release.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod each;
mod histories;
mod kernel;
mod model;
mod step;

/// Whether the worlds that take many minutes are wanted.
fn whole() -> bool {
    std::env::var_os("WHOLE_WORLDS").is_some_and(|value| value != "0")
}

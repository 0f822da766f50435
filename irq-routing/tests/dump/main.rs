// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Tables as text, the problems in them, and where signals go.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod explain;
mod format;
mod problems;
mod random;
mod wiring;

use irq_routing::Dump;

/// A table of a real guest.
const PC: &str = include_str!("../data/pc-routing.txt");

#[track_caller]
fn dump(text: &str) -> Dump {
    text.parse().unwrap()
}

#[track_caller]
fn problems(text: &str) -> Vec<String> {
    let problems = dump(text).problems();
    problems.iter().map(ToString::to_string).collect()
}

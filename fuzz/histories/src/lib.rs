// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Generated histories: sequences of operations, each beside a model that is written differently
//! from the code.
//!
//! A [`History`] runs in three ways: by libFuzzer (`fuzz/fuzz_targets`), as a short property test
//! (`tests/short`), and for minutes or hours by the program `soak`. All of them decode the steps
//! from bytes. A history that fails is shortened as long as it still fails, and printed as Rust.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a history fails by panicking"
)]

mod history;
mod quiet;
mod shorten;
pub mod targets;

pub use history::{History, Target, check, fails, random_bytes, steps};

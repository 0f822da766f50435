// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Small worlds, checked whole: all doorbells within a few bytes, all sets of a few of them, all
//! writes.
//!
//! The large ones take minutes in release, and run with `--ignored` only.
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

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Small worlds, checked whole: a table of four GSIs and four entries, all short histories, and a
//! refusal of each ioctl.
//!
//! The long histories take minutes in release, and run with `--ignored` only.
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

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The contract of the dispatcher, on real eventfds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod adding;
mod descriptors;
mod dropping;
mod failing;
mod fairness;
mod pausing;
mod polling;
mod polling_itself;
mod removing;
mod ring;
mod stopping;
mod stress;
mod support;

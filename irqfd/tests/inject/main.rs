// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Interrupts without an eventfd: their results, and which path to take.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod allocations;
mod line;
mod message;
mod paths;
mod vcpu;

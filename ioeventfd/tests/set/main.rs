// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Sets of doorbells on a simulated VM.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod common;
mod errors;
mod exits;
mod faults;
mod handover;
mod hooked;
mod hostile;
mod lifecycle;
mod order;
mod panics;
mod planning;
mod races;
mod relocation;
mod stuck;
mod windows;

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `SimVm` beside the results that kernels gave on arm64 and riscv64.
//!
//! A file of `data/` lists requests and their results, in the order in which they were made. Each
//! is made again on `SimVm`, and all differences are listed at once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "observed/arm64.rs"]
mod arm64;
#[path = "observed/replay.rs"]
mod replay;
#[path = "observed/riscv64.rs"]
mod riscv64;

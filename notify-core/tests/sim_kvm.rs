// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `SimVm` beside a real machine: the same random requests go to both, and all that can be seen of
//! either is compared after each.
//!
//! `SIM_KVM_SEQUENCES` says how many sequences each trial runs, `SIM_KVM_SEED` where they start.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::process::ExitCode;

#[cfg(target_arch = "x86_64")]
#[path = "sim_kvm/x86_64/mod.rs"]
mod x86_64;

fn main() -> ExitCode {
    #[cfg(target_arch = "x86_64")]
    let trials = x86_64::trials();
    #[cfg(not(target_arch = "x86_64"))]
    let trials = Vec::new();
    kvm_test::main(trials)
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Guests on `/dev/kvm`: each phrase, and each exit of a vCPU.
// Tests may panic. Clippy knows only those of the usual harness.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::process::ExitCode;

#[cfg(target_arch = "x86_64")]
mod devices;
#[cfg(target_arch = "x86_64")]
mod interrupts;
#[cfg(target_arch = "x86_64")]
mod lines;
#[cfg(target_arch = "x86_64")]
mod programs;
#[cfg(target_arch = "x86_64")]
mod stopping;
#[cfg(target_arch = "x86_64")]
mod support;

#[cfg(target_arch = "x86_64")]
fn main() -> ExitCode {
    let trials = [
        programs::trials(),
        devices::trials(),
        interrupts::trials(),
        lines::trials(),
        stopping::trials(),
    ];
    kvm_test::main(trials.into_iter().flatten().collect())
}

#[cfg(not(target_arch = "x86_64"))]
fn main() -> ExitCode {
    kvm_test::main(vec![kvm_test::x86_only("the guest is x86-64 code")])
}

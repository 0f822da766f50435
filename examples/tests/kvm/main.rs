// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The crates together, with real guests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod bar_move;
mod beside;
mod bus;
mod doorbell;
#[cfg(target_arch = "x86_64")]
mod first_hour;
#[cfg(target_arch = "x86_64")]
mod fork;
#[cfg(target_arch = "x86_64")]
mod guards;
mod intx;
mod minimal;
mod msix;
mod routing;
#[cfg(target_arch = "x86_64")]
mod storm;
#[cfg(target_arch = "x86_64")]
mod suspend;
mod terminal;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut trials = doorbell::trials();
    trials.extend(msix::trials());
    trials.extend(intx::trials());
    trials.extend(routing::trials());
    trials.extend(minimal::trials());
    trials.extend(terminal::trials());
    trials.extend(bar_move::trials());
    trials.extend(bus::trials());
    trials.extend(beside::trials());
    #[cfg(target_arch = "x86_64")]
    trials.extend(
        [
            first_hour::trials(),
            fork::trials(),
            guards::trials(),
            storm::trials(),
            suspend::trials(),
        ]
        .into_iter()
        .flatten(),
    );
    #[cfg(not(target_arch = "x86_64"))]
    trials.push(kvm_test::x86_only("the guest is x86-64 code"));
    kvm_test::main(trials)
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The programs of this package, run as a script runs them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod program;
mod vhost_user;
mod vhost_vsock;

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg_attr(
        target_arch = "x86_64",
        allow(unused_mut, reason = "one more on other architectures")
    )]
    let mut trials: Vec<_> = vhost_user::trials()
        .into_iter()
        .chain(vhost_vsock::trials())
        .collect();
    #[cfg(not(target_arch = "x86_64"))]
    trials.push(kvm_test::x86_only("the guest is x86-64 code"));
    kvm_test::main(trials)
}

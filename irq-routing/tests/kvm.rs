// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The table on real KVM: the kernel delivers what the table commits.
#![cfg_attr(
    target_arch = "x86_64",
    allow(
        clippy::unwrap_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test fails by panicking"
    )
)]

#[cfg(target_arch = "x86_64")]
#[path = "kvm/x86_64.rs"]
mod on_this_architecture;

#[cfg(not(target_arch = "x86_64"))]
mod on_this_architecture {
    pub(crate) fn trials() -> Vec<kvm_test::Trial> {
        vec![kvm_test::x86_only(
            "the table beside an x86 interrupt controller",
        )]
    }
}

fn main() -> std::process::ExitCode {
    kvm_test::main(on_this_architecture::trials())
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Interrupts on real KVM.
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
#[path = "kvm/few_gsis.rs"]
mod few_gsis;
#[cfg(target_arch = "x86_64")]
#[path = "kvm/guest.rs"]
mod guest;
#[cfg(target_arch = "x86_64")]
#[path = "kvm/inject.rs"]
mod inject;
#[cfg(target_arch = "x86_64")]
#[path = "kvm/x86_64.rs"]
mod irqfds;
#[cfg(target_arch = "x86_64")]
#[path = "kvm/jail.rs"]
mod jail;
#[cfg(target_arch = "x86_64")]
#[path = "kvm/level.rs"]
mod level;
#[cfg(target_arch = "x86_64")]
#[path = "kvm/level_saved.rs"]
mod level_saved;
#[cfg(target_arch = "x86_64")]
#[path = "kvm/msix.rs"]
mod msix;
#[cfg(target_arch = "x86_64")]
#[path = "kvm/passthrough.rs"]
mod passthrough;
#[cfg(target_arch = "x86_64")]
#[path = "kvm/snapshot.rs"]
mod snapshot;
#[cfg(target_arch = "x86_64")]
#[path = "kvm/storm.rs"]
mod storm;
#[cfg(target_arch = "x86_64")]
#[path = "kvm/vectors.rs"]
mod vectors;
#[cfg(target_arch = "x86_64")]
#[path = "kvm/watched.rs"]
mod watched;

#[cfg(target_arch = "x86_64")]
mod on_this_architecture {
    pub(crate) fn trials() -> Vec<kvm_test::Trial> {
        let mut trials = crate::irqfds::trials();
        trials.extend(crate::vectors::trials());
        trials.extend(crate::msix::trials());
        trials.extend(crate::inject::trials());
        trials.extend(crate::jail::trials());
        trials.extend(crate::level::trials());
        trials.extend(crate::level_saved::trials());
        trials.extend(crate::passthrough::trials());
        trials.extend(crate::snapshot::trials());
        trials.extend(crate::storm::trials());
        trials.extend(crate::few_gsis::trials());
        trials
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod on_this_architecture {
    pub(crate) fn trials() -> Vec<kvm_test::Trial> {
        vec![kvm_test::x86_only(
            "interrupts of x86 controllers, and x86 guests",
        )]
    }
}

fn main() -> std::process::ExitCode {
    kvm_test::main(on_this_architecture::trials())
}

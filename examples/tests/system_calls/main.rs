// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which system calls each operation makes, and that the tables in the documentation agree.
//!
//! An operation runs on a thread whose system call filter kills at all other calls than those of
//! its list. Then it runs once more without each of them, which must kill it. The tables are made
//! from the same lists; `WRITE_TABLE=1` writes them. They are for x86-64, as are the numbers and
//! the VMs of `kvm_test`.
//!
//! The same operations are the rows of the fault matrix (`faults`), in which each call fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::process::ExitCode;

#[cfg(target_arch = "x86_64")]
mod call;
#[cfg(target_arch = "x86_64")]
mod controller;
#[cfg(target_arch = "x86_64")]
mod dispatcher;
#[cfg(target_arch = "x86_64")]
mod doorbells;
#[cfg(target_arch = "x86_64")]
mod faults;
#[cfg(target_arch = "x86_64")]
mod irqfds;
#[cfg(target_arch = "x86_64")]
mod jail;
#[cfg(target_arch = "x86_64")]
mod lines;
#[cfg(target_arch = "x86_64")]
mod notifiers;
#[cfg(target_arch = "x86_64")]
mod pages;
#[cfg(target_arch = "x86_64")]
mod routing;
#[cfg(target_arch = "x86_64")]
mod row;
#[cfg(target_arch = "x86_64")]
mod shown;
#[cfg(target_arch = "x86_64")]
mod vectors;
#[cfg(target_arch = "x86_64")]
mod vm;
#[cfg(target_arch = "x86_64")]
mod vmms;
#[cfg(target_arch = "x86_64")]
mod vrings;

#[cfg(target_arch = "x86_64")]
fn main() -> ExitCode {
    let pages = pages::pages();
    let mut trials = pages::trials(&pages);
    let sections: Vec<_> = pages.into_iter().flat_map(|page| page.sections).collect();
    if let Some(code) = jail::child(&sections).or_else(|| faults::child(&sections)) {
        return code;
    }
    for section in &sections {
        for (name, cell) in section.cells() {
            let (calls, operation) = (cell.calls, name.clone());
            let check = move || jail::check(&operation, calls);
            match (calls, section.kvm) {
                (None, _) => {}
                (_, true) => trials.push(kvm_test::kvm(&name, check)),
                (_, false) => trials.push(kvm_test::anywhere(&name, check)),
            }
        }
    }
    trials.extend(faults::trials(&sections));
    kvm_test::main(trials)
}

#[cfg(not(target_arch = "x86_64"))]
fn main() -> ExitCode {
    kvm_test::main(vec![kvm_test::x86_only("the tables are those of x86-64")])
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Random histories of each target, its corpus, and histories that once failed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod found;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use histories::targets::TARGETS;
use histories::{Target, random_bytes};
use kvm_test::{Trial, anywhere, kvm_x86};

/// How many of each target; those that need KVM are slower.
const HISTORIES: u64 = 400;
const KVM_HISTORIES: u64 = 40;

fn main() -> ExitCode {
    let mut trials = found::trials();
    for target in TARGETS {
        trials.push(trial(target, "random", |target| {
            let histories = match target.needs_kvm {
                true => KVM_HISTORIES,
                false => HISTORIES,
            };
            for number in 0..histories {
                (target.check)(&random_bytes(1, number));
            }
        }));
        trials.push(trial(target, "corpus", |target| {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus");
            let mut steps = 0;
            for file in fs::read_dir(folder.join(target.name)).unwrap() {
                steps += (target.check)(&fs::read(file.unwrap().path()).unwrap());
            }
            assert!(steps > 0, "the corpus has no history");
        }));
    }
    kvm_test::main(trials)
}

fn trial(target: &'static Target, what: &str, run: fn(&Target)) -> Trial {
    let name = format!("{}::{what}", target.name);
    match target.needs_kvm {
        true => kvm_x86(&name, move || run(target)),
        false => anywhere(&name, move || run(target)),
    }
}

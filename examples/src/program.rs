// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the programs that run a guest have in common.

use std::error::Error;
use std::fs::File;
use std::iter::successors;

use clap::ValueEnum;

/// What runs the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// A real guest on /dev/kvm
    Kvm,
    /// A simulated guest
    Sim,
}

impl Backend {
    /// A real guest if there can be one; says why not, in the name of `program`.
    #[must_use]
    pub fn choose(program: &str) -> Self {
        if cfg!(not(target_arch = "x86_64")) {
            eprintln!("{program}: the real guest is x86-64 code; simulating one");
            return Self::Sim;
        }
        match File::options().read(true).write(true).open("/dev/kvm") {
            Ok(_) => Self::Kvm,
            Err(error) => {
                eprintln!("{program}: cannot open /dev/kvm: {error}; simulating a guest");
                Self::Sim
            }
        }
    }
}

/// An error and its causes, in one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let causes = successors(error.source(), |cause| (**cause).source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

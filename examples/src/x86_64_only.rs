// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The program `minimal` on other processors: it prints that its guest is x86-64 code.

use std::process::ExitCode;

#[cfg(target_arch = "x86_64")]
#[path = "bin/minimal.rs"]
#[allow(clippy::indexing_slicing, reason = "three queues, two vectors")]
mod minimal;

#[cfg(not(target_arch = "x86_64"))]
mod minimal {
    pub(crate) fn main() -> Result<(), &'static str> {
        Err("the guest is x86-64 code")
    }
}

fn main() -> ExitCode {
    if let Err(error) = minimal::main() {
        eprintln!("minimal: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The program `minimal`, which counts each kick and each interrupt itself.

use std::process::Command;

use kvm_test::{Trial, kvm_x86};

pub(crate) fn trials() -> Vec<Trial> {
    vec![kvm_x86(
        "minimal_counts_each_kick_and_interrupt_once",
        || {
            let output = Command::new(env!("CARGO_BIN_EXE_minimal"))
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            let text = String::from_utf8(output.stdout).unwrap();
            for queue in ["disk", "net queue 0", "net queue 1"] {
                let line = format!("{queue}: 100 kicks served, 100 interrupts taken");
                assert!(text.contains(&line), "{text}");
            }
        },
    )]
}

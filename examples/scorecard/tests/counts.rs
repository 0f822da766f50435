// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What rows count. Their times are never asserted.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::process::{Command, ExitCode};

use kvm_test::kvm_x86;
use serde_json::Value;

fn main() -> ExitCode {
    kvm_test::main(vec![kvm_x86(
        "a_level_round_trip_through_the_kernel_does_not_exit_to_user_space",
        counts_exits,
    )])
}

fn counts_exits() {
    let scorecard = Command::new(env!("CARGO_BIN_EXE_scorecard"))
        .args(["--json", "--only", "level_roundtrip"])
        // Its plots go below where it runs.
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap();
    assert!(scorecard.status.success(), "{scorecard:?}");
    let row: Value = serde_json::from_slice(&scorecard.stdout).unwrap();
    let note = row["note"].as_str().unwrap();
    assert!(
        note.contains("exits to user space for it: 0 against 1;"),
        "{note}"
    );
}

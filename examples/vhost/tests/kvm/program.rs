// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Runs a program and reads its report.

use std::process::{Command, Output};

use serde_json::Value;

/// Runs a program with arguments that are separated by spaces.
pub(crate) fn run(program: &str, arguments: &str) -> Output {
    let arguments = arguments.split(' ');
    Command::new(program).args(arguments).output().unwrap()
}

/// Runs it with `--json`, which must succeed.
pub(crate) fn report(program: &str, arguments: &str) -> Value {
    let output = run(program, &format!("--json {arguments}"));
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Asserts some of a report's counts.
pub(crate) fn counts(report: &Value, wanted: &[(&str, u64)]) {
    for (name, value) in wanted {
        assert_eq!(report[*name], *value, "{name} of {report}");
    }
}

/// How many times ten snapshots a test takes: 10, or fewer where `SNAPSHOT_ROUNDS` says so, as on
/// emulated hosts.
pub(crate) fn ten_snapshots() -> u64 {
    (u64::from(kvm_test::snapshot_rounds()) / 100).clamp(1, 10)
}

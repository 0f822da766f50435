// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The program `bar_move`, run as a script runs it.

use std::process::{Command, Output};

use kvm_test::{Trial, anywhere, kvm_x86};
use serde_json::Value;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        kvm_x86("bar_move_loses_nothing", || {
            loses_nothing(&["--backend", "kvm"]);
        }),
        kvm_x86("bar_move_loses_nothing_with_removals_first", || {
            let report = loses_nothing(&["--backend", "kvm", "--order", "removals"]);
            assert!(report["by_exit"].as_u64().unwrap() > 0, "{report}");
        }),
        anywhere("bar_move_loses_nothing_on_simvm", || {
            loses_nothing(&["--backend", "sim"]);
            loses_nothing(&["--backend", "sim", "--order", "removals"]);
        }),
        anywhere("bar_move_loses_nothing_whichever_ioctl_fails", || {
            for order in ["additions", "removals"] {
                let report = loses_nothing(&["--backend", "sim", "--faults", "--order", order]);
                assert_eq!(report["failed_moves"], 128, "{report}");
            }
        }),
        kvm_x86("bar_move_reports_to_a_person", reports),
    ]
}

fn bar_move(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_bar_move");
    Command::new(program).args(arguments).output().unwrap()
}

fn loses_nothing(arguments: &[&str]) -> Value {
    let arguments = [&["--json", "--kicks", "50000"], arguments].concat();
    let output = bar_move(&arguments);
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    // In whole rounds of 64.
    assert!(report["kicks"].as_u64().unwrap() >= 50_048, "{report}");
    assert_eq!(report["kicks"], report["handled"], "{report}");
    assert_eq!(
        (&report["lost"], &report["doubled"]),
        (&0.into(), &0.into())
    );
    assert!(report["by_exit"].is_u64(), "{report}");
    assert!(report["moves"].as_u64().unwrap() > 1, "{report}");
    report
}

fn reports() {
    let output = bar_move(&["--kicks", "10000"]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "a real guest on /dev/kvm",
        "by ioeventfd",
        "by exit",
        "lost",
        "p99",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

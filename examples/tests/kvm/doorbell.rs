// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The program `doorbell`, as a script runs it.

use std::process::{Command, Output};

use kvm_test::{Trial, anywhere, kvm};
use serde_json::Value;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        kvm("doorbell_loses_nothing", loses_nothing),
        kvm("doorbell_reports_to_a_person", reports),
        anywhere("doorbell_refuses_nonsense_in_one_line", refuses),
    ]
}

fn doorbell(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_doorbell");
    Command::new(program).args(arguments).output().unwrap()
}

fn loses_nothing() {
    // Not a multiple of the eight doorbells.
    let output = doorbell(&["--json", "--kicks", "4003"]);
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["backend"], "kvm");
    for counts in [&report, &report["by_exit"]] {
        for count in ["kicks", "handled", "signalled", "interrupts"] {
            assert_eq!(counts[count], 4003, "{count} of {report}");
        }
    }
    assert_eq!(report["lost"], 0);
    for times in ["ioeventfd_ns", "exit_ns"] {
        let p50 = report[times]["p50"].as_u64().unwrap();
        assert!(
            p50 > 0 && p50 <= report[times]["p99"].as_u64().unwrap(),
            "{report}"
        );
    }
}

fn reports() {
    let output = doorbell(&["--kicks", "100"]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "a guest on kvm (Linux",
        "GSI 24: MSI 0x40",
        "lost",
        "all agree",
        "p99",
        "#",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

fn refuses() {
    let output = doorbell(&["--backend", "sim"]);
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(!doorbell(&["--kicks", "0"]).status.success());
}

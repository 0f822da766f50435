// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The program `doorbell`, run as a script runs it.

use std::process::{Command, Output};

use kvm_test::{Trial, anywhere, kvm_x86};
use serde_json::Value;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        kvm_x86("doorbell_loses_nothing", || loses_nothing("kvm")),
        anywhere("doorbell_loses_nothing_on_simvm", || loses_nothing("sim")),
        kvm_x86("doorbell_reports_to_a_person", reports),
        anywhere("doorbell_refuses_nonsense", refuses),
    ]
}

fn doorbell(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_doorbell");
    Command::new(program).args(arguments).output().unwrap()
}

fn loses_nothing(backend: &str) {
    // Not a multiple of the eight doorbells.
    let output = doorbell(&["--json", "--kicks", "4003", "--backend", backend]);
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["backend"], backend);
    for counts in [&report, &report["by_exit"]] {
        for count in ["kicks", "handled", "signalled", "interrupts"] {
            assert_eq!(counts[count], 4003, "{count} of {report}");
        }
    }
    assert_eq!(report["lost"], 0);
    for times in ["ioeventfd_ns", "exit_ns"] {
        // The time of the clock is subtracted: where reading it is slow, a kick may be left with 0.
        let p50 = report[times]["p50"].as_u64().unwrap();
        assert!(p50 <= report[times]["p99"].as_u64().unwrap(), "{report}");
    }
}

fn reports() {
    let output = doorbell(&["--kicks", "100"]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "a real guest on /dev/kvm (Linux",
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
    let output = doorbell(&["--kicks", "0"]);
    assert!(!output.status.success());
    assert!(output.stdout.is_empty());
}

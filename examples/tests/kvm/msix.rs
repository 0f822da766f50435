// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The program `msix`, as a script runs it.

use std::process::{Command, Output};

use kvm_test::{Trial, anywhere, kvm_x86};
use serde_json::Value;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        kvm_x86("msix_loses_nothing", || loses_nothing("kvm")),
        anywhere("msix_loses_nothing_on_simvm", || loses_nothing("sim")),
        kvm_x86("msix_reports_to_a_person", reports),
        anywhere("msix_refuses_nonsense", refuses),
    ]
}

fn msix(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_msix");
    Command::new(program).args(arguments).output().unwrap()
}

fn loses_nothing(backend: &str) {
    let output = msix(&["--json", "--triggers", "30001", "--backend", backend]);
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["backend"], backend);
    let count = |name: &str| report[name].as_u64().unwrap();
    assert_eq!(count("triggered"), 30_001);
    assert_eq!(count("coalesced"), 30_001 - count("delivered"), "{report}");
    for nothing in ["lost", "spurious", "stale", "torn"] {
        assert_eq!(count(nothing), 0, "{nothing} of {report}");
    }
    // It is no test if nothing was masked, kept, armed or taken.
    for something in ["delivered", "kept", "masks", "commits", "bursts"] {
        assert!(count(something) > 0, "{something} of {report}");
    }
}

fn reports() {
    let output = msix(&["--triggers", "100"]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "a real guest on /dev/kvm",
        "coalesced",
        "lost",
        "spurious",
        "all as it must be",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

fn refuses() {
    let output = msix(&["--triggers", "0"]);
    assert!(!output.status.success());
    assert!(output.stdout.is_empty());
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The program `msix`, run as a script runs it.

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
    let count = |path: &str| {
        let number = report.pointer(path).and_then(Value::as_u64);
        number.unwrap_or_else(|| panic!("no {path} in {report}"))
    };
    assert_eq!(count("/triggered"), 30_001);
    // In lock-step the guest counts each trigger once, of internal and of exported vectors. KVM may
    // double those that come while it assigns an irqfd.
    assert_eq!(count("/lock_step/triggered"), 15_000, "{report}");
    for part in ["", "/internal", "/exported"] {
        let triggered = count(&format!("/lock_step{part}/triggered"));
        assert!(triggered > 0, "{part} of {report}");
        let delivered = count(&format!("/lock_step{part}/delivered"));
        let doubled = count(&format!("/lock_step{part}/doubled_by_kvm"));
        assert_eq!(delivered, triggered + doubled, "{part} of {report}");
        assert_eq!(count(&format!("/lock_step{part}/coalesced")), 0, "{report}");
    }
    // A storm coalesces, but the last trigger of each vector arrives.
    assert_eq!(count("/storm/triggered"), 15_001, "{report}");
    let coalesced = 15_001 - count("/storm/delivered");
    assert_eq!(count("/storm/coalesced"), coalesced, "{report}");
    for part in ["/lock_step", "/storm"] {
        let sum = |name: &str| {
            let of_kind = |kind: &str| count(&format!("{part}/{kind}/{name}"));
            of_kind("internal") + of_kind("exported")
        };
        for name in [
            "triggered",
            "delivered",
            "coalesced",
            "lost",
            "doubled",
            "doubled_by_kvm",
        ] {
            assert_eq!(sum(name), count(&format!("{part}/{name}")), "{report}");
        }
        for nothing in ["lost", "doubled"] {
            assert_eq!(count(&format!("{part}/{nothing}")), 0, "{report}");
        }
    }
    assert_eq!(count("/lock_step/internal/doubled_by_kvm"), 0, "{report}");
    for nothing in ["/lost", "/doubled", "/spurious", "/stale", "/torn"] {
        assert_eq!(count(nothing), 0, "{nothing} of {report}");
    }
    // The test proves nothing if nothing was masked, kept, armed or taken.
    for something in [
        "/lock_step/kept",
        "/storm/kept",
        "/storm/coalesced",
        "/storm/internal/delivered",
        "/storm/exported/delivered",
        "/masks",
        "/commits",
        "/rounds",
    ] {
        assert!(count(something) > 0, "{something} of {report}");
    }
}

fn reports() {
    let output = msix(&["--triggers", "100"]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "a real guest on /dev/kvm",
        "in lock-step",
        "in a storm",
        "delivered",
        "doubled",
        "doubled by KVM",
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

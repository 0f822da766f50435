// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The program `intx`, run as a script runs it.

use std::process::{Command, Output};

use kvm_test::{Trial, anywhere, kvm_x86};
use serde_json::Value;

/// How many assertions a run has.
const ASSERTIONS: u64 = 2001;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        kvm_x86("intx_reports_to_a_person", reports),
        anywhere("intx_refuses_nonsense", refuses),
    ];
    for irqchip in ["full", "split"] {
        for chip in ["ioapic", "pic"] {
            trials.push(kvm_x86(
                &format!("intx_loses_nothing_and_nothing_sticks_{chip}_{irqchip}"),
                move || loses_nothing("kvm", chip, irqchip),
            ));
            trials.push(anywhere(
                &format!("intx_loses_nothing_and_nothing_sticks_{chip}_{irqchip}_on_simvm"),
                move || loses_nothing("sim", chip, irqchip),
            ));
        }
    }
    trials
}

fn intx(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_intx");
    Command::new(program).args(arguments).output().unwrap()
}

fn loses_nothing(backend: &str, chip: &str, irqchip: &str) {
    let assertions = ASSERTIONS.to_string();
    let output = intx(&[
        "--json",
        "--assertions",
        &assertions,
        "--backend",
        backend,
        "--chip",
        chip,
        "--irqchip",
        irqchip,
    ]);
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (name, value) in [("backend", backend), ("chip", chip), ("irqchip", irqchip)] {
        assert_eq!(report[name], value);
    }
    let count = |name: &str| report[name].as_u64().unwrap();
    // Each leave comes with one more assertion.
    assert_eq!(count("asserted"), ASSERTIONS + count("leaves"), "{report}");
    assert_eq!(
        count("asserted"),
        count("handled") + count("withdrawn"),
        "{report}"
    );
    for nothing in ["lost", "stuck", "mistold"] {
        assert_eq!(count(nothing), 0, "{nothing} of {report}");
    }
    // Both holders are signalled the same EOIs, except those that one missed while it was away.
    let away = count("told_exported").abs_diff(count("told_own"));
    assert!(away * 10 < count("eois"), "{report}");
    match (chip, irqchip) {
        (_, "full") => assert!(report["eois_seen"].is_null(), "{report}"),
        // The EOI of a vector that the pin had before it was moved belongs to no line.
        ("ioapic", _) => {
            let stale = count("eois") - count("eois_seen");
            assert!(stale <= 2 * count("moves"), "{report}");
            assert!(count("moves") > 0, "{report}");
        }
        _ => assert_eq!(count("eois_seen"), count("eois"), "{report}"),
    }
    if chip == "pic" {
        assert_eq!(count("moves"), 0, "{report}");
    }
    // The test proves nothing if nothing was withdrawn, merged, masked, signalled or left.
    for something in [
        "withdrawn",
        "merged",
        "triggered_again",
        "masks",
        "eois",
        "told_own",
        "told_exported",
        "leaves",
        "bursts",
    ] {
        assert!(count(something) > 0, "{something} of {report}");
    }
}

fn reports() {
    let output = intx(&["--assertions", "100"]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        text.matches("a real guest on /dev/kvm").count(),
        4,
        "{text}"
    );
    for part in [
        "a pin of an IOAPIC in the kernel",
        "a pin of a PIC in the kernel",
        "a pin of an IOAPIC in user space",
        "a pin of a PIC in user space",
        "lost",
        "stuck",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    assert_eq!(text.matches("all as it must be").count(), 4, "{text}");
    assert!(!text.contains("NO"), "{text}");
}

fn refuses() {
    for nonsense in [["--assertions", "0"], ["--chip", "aplic"]] {
        let output = intx(&nonsense);
        assert!(!output.status.success());
        assert!(output.stdout.is_empty());
    }
}

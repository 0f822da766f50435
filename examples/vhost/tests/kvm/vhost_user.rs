// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The program `vhost_user`.

use kvm_test::{Trial, anywhere, kvm_x86};

use crate::program::{counts, report, run};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vhost_user");

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        kvm_x86("vhost_user_loses_nothing_when_daemons_are_killed", || {
            loses_nothing("--idle halt");
        }),
        kvm_x86("vhost_user_loses_nothing_with_a_guest_that_polls", || {
            loses_nothing("--idle spin");
        }),
        kvm_x86("vhost_user_signals_what_is_delivered", in_lock_step),
        kvm_x86("vhost_user_loses_nothing_when_its_guest_rebinds", rebinds),
        kvm_x86(
            "vhost_user_loses_nothing_when_all_happens_at_once",
            all_at_once,
        ),
        kvm_x86("vhost_user_reports_to_a_person", reports),
        anywhere("vhost_user_refuses_nonsense", refuses),
    ]
}

fn loses_nothing(idle: &str) {
    let arguments = format!("--packets 2000 --restarts 3 --changes 0 {idle}");
    let report = report(PROGRAM, &arguments);
    let wanted = [
        ("requests", 2000),
        ("answered", 2000),
        ("restarts", 3),
        ("lost", 0),
        ("doubled", 0),
        ("ring_errors", 0),
    ];
    counts(&report, &wanted);
    assert_eq!(report["fds_before"], report["fds_after"], "{report}");
    assert_eq!(report["vmm_wakeups_per_request"], 0.0, "{report}");
}

/// One kick and one interrupt for each packet, and for the one that opens the connection.
fn in_lock_step() {
    let arguments = "--packets 1000 --restarts 0 --changes 0 --idle spin";
    let wanted = [("answered", 1000), ("kicks", 1001), ("interrupts", 1001)];
    counts(&report(PROGRAM, arguments), &wanted);
}

fn rebinds() {
    let arguments = "--packets 600 --restarts 0 --changes 60 --idle spin";
    let report = report(PROGRAM, arguments);
    let wanted = [
        ("answered", 600),
        ("lost", 0),
        ("doubled", 0),
        ("changes", 60),
        ("moves", 10),
        ("through_mask", 0),
        ("stale", 0),
    ];
    counts(&report, &wanted);
    assert_eq!(report["fds_before"], report["fds_after"], "{report}");
    assert_eq!(report["vmm_wakeups_per_request"], 0.0, "{report}");
}

fn all_at_once() {
    let arguments = "--packets 900 --restarts 9 --changes 90 --idle spin";
    let report = report(PROGRAM, arguments);
    let wanted = [
        ("answered", 900),
        ("lost", 0),
        ("doubled", 0),
        ("restarts", 9),
        ("changes", 90),
        ("moves", 15),
    ];
    counts(&report, &wanted);
}

fn reports() {
    let output = run(PROGRAM, "--packets 200 --restarts 1 --changes 6");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["received", "lost", "restarts", "exits"] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

fn refuses() {
    let output = run(PROGRAM, "--packets 0");
    assert!(!output.status.success());
    assert!(output.stdout.is_empty());
}

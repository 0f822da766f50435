// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The program `vhost_user`.

use std::process::{Command, Output};

use kvm_test::{Trial, anywhere, kvm_x86};
use serde_json::Value;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        kvm_x86("vhost_user_loses_nothing_when_daemons_are_killed", || {
            loses_nothing("halt");
        }),
        kvm_x86("vhost_user_loses_nothing_with_a_guest_that_polls", || {
            loses_nothing("spin");
        }),
        kvm_x86("vhost_user_reports_to_a_person", reports),
        anywhere("vhost_user_refuses_nonsense", refuses),
    ]
}

fn vhost_user(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_vhost_user");
    Command::new(program).args(arguments).output().unwrap()
}

fn loses_nothing(idle: &str) {
    let arguments = "--json --packets 2000 --restarts 3 --idle";
    let mut arguments: Vec<&str> = arguments.split(' ').collect();
    arguments.push(idle);
    let output = vhost_user(&arguments);
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (name, value) in [
        ("requests", 2000),
        ("answered", 2000),
        ("restarts", 3),
        ("lost", 0),
        ("doubled", 0),
        ("ring_errors", 0),
    ] {
        assert_eq!(report[name], value, "{name} of {report}");
    }
    assert_eq!(report["fds_before"], report["fds_after"], "{report}");
    assert_eq!(report["vmm_wakeups_per_request"], 0.0, "{report}");
}

fn reports() {
    let output = vhost_user(&["--packets", "200", "--restarts", "1"]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["answered", "lost", "restarts", "exits"] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

fn refuses() {
    let output = vhost_user(&["--packets", "0"]);
    assert!(!output.status.success());
    assert!(output.stdout.is_empty());
}

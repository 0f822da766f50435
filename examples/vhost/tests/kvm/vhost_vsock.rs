// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The program `vhost_vsock`, where there is `/dev/vhost-vsock`.

use std::fs::File;

use std::process::Command;

use kvm_test::{Terminal, Trial, anywhere, kvm_x86};
use serde_json::Value;

use crate::program::{counts, report, run, ten_snapshots};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vhost_vsock");
const DEVICE: &str = "/dev/vhost-vsock";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        with_device("vhost_vsock_needs_no_thread_of_the_vmm", needs_no_thread),
        with_device("vhost_vsock_loses_nothing_when_its_guest_rebinds", rebinds),
        with_device(
            "vhost_vsock_loses_nothing_in_snapshots",
            saved_in_mid_traffic,
        ),
        with_device(
            "vhost_vsock_reports_at_ctrl_c_what_it_has_counted",
            reports_at_ctrl_c,
        ),
        anywhere("vhost_vsock_says_what_it_lacks", says_what_it_lacks),
    ]
}

/// A trial that needs KVM and the device. Without the device it is ignored, with the reason, or
/// fails with `REQUIRE_VHOST=1`.
fn with_device(name: &str, run: fn()) -> Trial {
    let required = std::env::var_os("REQUIRE_VHOST").is_some_and(|value| value == "1");
    match File::options().read(true).write(true).open(DEVICE) {
        Err(error) if !required => Trial::test(name, || Ok(()))
            .with_kind(format!("{DEVICE}: {error}"))
            .with_ignored_flag(true),
        _ => kvm_x86(name, run),
    }
}

fn needs_no_thread() {
    let report = report(PROGRAM, "--packets 500 --changes 0 --idle spin");
    let wanted = [
        ("packets_sent", 500),
        ("packets_received", 500),
        ("packets_echoed", 500),
        ("lost", 0),
        ("doubled", 0),
        ("ring_errors", 0),
    ];
    counts(&report, &wanted);
    assert_eq!(report["exits_per_packet"], 0.0, "{report}");
    let wakeups = report["vmm_wakeups"].as_u64();
    assert!(wakeups.is_some_and(|wakeups| wakeups < 10), "{report}");
}

fn rebinds() {
    let report = report(PROGRAM, "--packets 700 --changes 70 --idle spin");
    let wanted = [
        ("packets_received", 700),
        ("packets_echoed", 700),
        ("lost", 0),
        ("doubled", 0),
        ("changes", 70),
        ("moves", 30),
        ("through_mask", 0),
        ("stale", 0),
    ];
    counts(&report, &wanted);
    assert_eq!(report["exits_per_packet"], 0.0, "{report}");
}

fn saved_in_mid_traffic() {
    let unit = ten_snapshots();
    let (packets, changes, snapshots) = (140 * unit, 14 * unit, 10 * unit);
    let arguments =
        format!("--packets {packets} --changes {changes} --snapshots {snapshots} --idle spin");
    let report = report(PROGRAM, &arguments);
    let wanted = [
        ("packets_received", packets),
        ("packets_echoed", packets),
        ("lost", 0),
        ("doubled", 0),
        ("changes", changes),
        ("moves", 6 * unit),
        ("snapshots", snapshots),
        ("through_mask", 0),
        ("stale", 0),
        ("ring_errors", 0),
    ];
    counts(&report, &wanted);
    assert_eq!(report["fds_before"], report["fds_after"], "{report}");
}

fn reports_at_ctrl_c() {
    let mut command = Command::new(PROGRAM);
    command.args(["--json", "--idle", "spin", "--packets", "4000000000"]);
    let terminal = Terminal::for_errors(&mut command, 70).unwrap();
    terminal.wait_for(" of 4000000000");
    terminal.interrupt().unwrap();
    let (shown, output) = terminal.output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{shown}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["interrupted"], true, "{report}");
    assert_eq!(
        report["packets_sent"], report["packets_received"],
        "{report}"
    );
    assert_eq!(report["packets_sent"], report["packets_echoed"], "{report}");
    counts(&report, &[("lost", 0), ("doubled", 0)]);
}

fn says_what_it_lacks() {
    if File::open(DEVICE).is_ok() && kvm_probe::probe().is_ok() {
        return;
    }
    let output = run(PROGRAM, "--packets 10");
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    let lacks = ["/dev/vhost-vsock", "KVM", "another processor"];
    assert!(lacks.iter().any(|it| error.contains(it)), "{error}");
}

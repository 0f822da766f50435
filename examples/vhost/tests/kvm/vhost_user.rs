// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The program `vhost_user`.

use std::fs;
use std::process::{Command, Stdio};

use kvm_test::{Terminal, Trial, anywhere, kvm_x86, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::program::{counts, report, run, ten_snapshots};

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
        kvm_x86(
            "vhost_user_has_each_interrupt_once_in_snapshots",
            saved_in_lock_step,
        ),
        kvm_x86(
            "vhost_user_loses_nothing_in_snapshots_while_its_guest_rebinds",
            saved_while_it_rebinds,
        ),
        kvm_x86(
            "vhost_user_ends_if_its_daemon_does_not_reply",
            ends_without_replies,
        ),
        kvm_x86("vhost_user_reports_at_ctrl_c_what_it_has_counted", || {
            reports_at_ctrl_c("--restarts 0 --changes 0 --snapshots 0");
        }),
        kvm_x86("vhost_user_reports_at_ctrl_c_in_the_midst_of_all", || {
            // A change with every tenth packet.
            let change = "--restarts 1000000 --changes 400000000 --snapshots 4000000";
            reports_at_ctrl_c(change);
        }),
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
    ];
    counts(&report, &wanted);
    assert_eq!(report["fds_before"], report["fds_after"], "{report}");
    assert_eq!(report["vmm_wakeups_per_request"], 0.0, "{report}");
}

/// One kick and one interrupt for each packet, and for the packet that opens the connection.
fn in_lock_step() {
    let arguments = "--packets 1000 --restarts 0 --changes 0 --idle spin";
    let wanted = [("answered", 1000), ("kicks", 1001), ("interrupts", 1001)];
    counts(&report(PROGRAM, arguments), &wanted);
}

fn rebinds() {
    let arguments = "--packets 700 --restarts 0 --changes 70 --idle spin";
    let report = report(PROGRAM, arguments);
    let wanted = [
        ("answered", 700),
        ("lost", 0),
        ("doubled", 0),
        ("changes", 70),
        ("moves", 30),
        ("through_mask", 0),
        ("stale", 0),
    ];
    counts(&report, &wanted);
    assert_eq!(report["fds_before"], report["fds_after"], "{report}");
    assert_eq!(report["vmm_wakeups_per_request"], 0.0, "{report}");
}

/// The VM is saved between a kick and its interrupt, at moments unknown to the guest.
fn saved_in_lock_step() {
    let unit = ten_snapshots();
    let (packets, snapshots) = (150 * unit, 10 * unit);
    let arguments =
        format!("--packets {packets} --restarts 0 --changes 0 --snapshots {snapshots} --idle halt");
    let report = report(PROGRAM, &arguments);
    let wanted = [
        ("answered", packets),
        ("lost", 0),
        ("doubled", 0),
        ("kicks", packets + 1),
        ("interrupts", packets + 1),
        ("snapshots", snapshots),
    ];
    counts(&report, &wanted);
    assert_eq!(report["fds_before"], report["fds_after"], "{report}");
    assert_eq!(report["vmm_wakeups_per_request"], 0.0, "{report}");
}

/// The same at each step of a change. One change in seven saves the VM while the vector is masked
/// and pending, and once more when KVM is about to inject the pending interrupt.
fn saved_while_it_rebinds() {
    let unit = ten_snapshots();
    let (packets, changes, snapshots) = (140 * unit, 35 * unit, 10 * unit);
    let arguments = format!(
        "--packets {packets} --restarts 0 --changes {changes} --snapshots {snapshots} --idle spin"
    );
    let report = report(PROGRAM, &arguments);
    let wanted = [
        ("answered", packets),
        ("lost", 0),
        ("doubled", 0),
        ("changes", changes),
        ("moves", 15 * unit),
        ("snapshots", snapshots),
        ("through_mask", 0),
        ("stale", 0),
    ];
    counts(&report, &wanted);
    let pending = report["pending_in_vector"].as_u64();
    assert!(
        pending.is_some_and(|pending| pending >= 5 * unit),
        "{report}"
    );
}

fn all_at_once() {
    let arguments = "--packets 2100 --restarts 9 --changes 210 --snapshots 20 --idle spin";
    let report = report(PROGRAM, arguments);
    let wanted = [
        ("answered", 2100),
        ("lost", 0),
        ("doubled", 0),
        ("restarts", 9),
        ("changes", 210),
        ("moves", 90),
        ("snapshots", 20),
    ];
    counts(&report, &wanted);
}

/// Everything that was sent has come back, and nothing is left behind. A daemon may be dying at
/// that moment, or the VM be moving to another one.
fn reports_at_ctrl_c(arguments: &str) {
    let mut command = Command::new(PROGRAM);
    command.args(["--json", "--idle", "spin", "--packets", "4000000000"]);
    command.args(arguments.split(' '));
    let terminal = Terminal::for_errors(&mut command, 70).unwrap();
    terminal.wait_for(" of 4000000000");
    terminal.interrupt().unwrap();
    let (shown, output) = terminal.output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{shown}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["interrupted"], true, "{report}");
    assert!(
        report["answered"].as_u64().is_some_and(|count| count > 0),
        "{report}"
    );
    assert_eq!(report["requests"], report["answered"], "{report}");
    assert_eq!(report["fds_before"], report["fds_after"], "{report}");
    counts(
        &report,
        &[
            ("lost", 0),
            ("doubled", 0),
            ("through_mask", 0),
            ("stale", 0),
        ],
    );
}

/// The daemon is stopped, so the guest waits for a packet, and the VMM would wait for the daemon.
fn ends_without_replies() {
    let arguments = "--packets 4000000 --restarts 0 --changes 0 --patience 1";
    let mut command = Command::new(PROGRAM);
    command.args(arguments.split(' ')).stderr(Stdio::piped());
    let program = command.spawn().unwrap();
    let mut daemon = None;
    wait_until(|| {
        daemon = daemon_of(program.id());
        daemon.is_some()
    });
    kill(Pid::from_raw(daemon.unwrap()), Signal::SIGSTOP).unwrap();
    let output = program.wait_with_output().unwrap();
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!error.is_empty());
}

/// The daemon that this process has started, once it runs: until then the program waits in `vfork`,
/// and would wait for ever for a stopped child.
fn daemon_of(parent: u32) -> Option<i32> {
    let read = |id, name| fs::read_to_string(format!("/proc/{id}/{name}")).unwrap_or_default();
    let parent = format!("PPid:\t{parent}");
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.find(|&id: &i32| {
        read(id, "status").lines().any(|line| line == parent)
            && read(id, "cmdline").contains("--vhost-daemon=")
    })
}

fn reports() {
    let output = run(PROGRAM, "--packets 200 --restarts 1 --changes 7");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["received", "lost", "restarts", "snapshots", "exits"] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

fn refuses() {
    let output = run(PROGRAM, "--packets 0");
    assert!(!output.status.success());
    assert!(output.stdout.is_empty());
    assert!(run(PROGRAM, "--version").status.success());
}

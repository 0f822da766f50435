// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The counts of the rows, and the program's output. Times are never asserted.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, ExitCode};

use kvm_test::{Terminal, Trial, anywhere, kvm_x86};
use serde_json::Value;

fn main() -> ExitCode {
    kvm_test::main(vec![
        kvm_x86(
            "a_level_round_trip_through_the_kernel_does_not_exit_to_user_space",
            counts_exits,
        ),
        kvm_x86(
            "a_packet_to_a_daemon_and_back_wakes_no_thread_of_the_vmm",
            || counts_wakeups("vhost_user_roundtrip"),
        ),
        kvm_x86(
            "a_device_whose_messages_kvm_refuses_costs_others_few_commits",
            counts_commits_of_a_hostile_device,
        ),
        kvm_x86(
            "an_armed_vector_is_retargeted_by_one_commit",
            counts_ioctls_of_a_retarget,
        ),
        kvm_x86(
            "vectors_that_a_guest_retargets_share_a_commit",
            counts_commits_of_retargets,
        ),
        with_device(
            "a_packet_to_the_kernel_and_back_wakes_no_thread_of_the_vmm",
            || counts_wakeups("vhost_vsock_roundtrip"),
        ),
        kvm_x86(
            "ctrl_c_ends_with_the_rows_that_are_measured",
            ends_at_ctrl_c,
        ),
        kvm_x86("a_row_is_shown_in_words_and_units", shows_words),
        anywhere("plots_go_where_they_are_told_and_nowhere_else", plots),
        anywhere("a_row_that_is_none_is_refused", refuses),
    ])
}

/// A trial that needs KVM and `/dev/vhost-vsock`. Without the device it is ignored, with the
/// reason, or fails with `REQUIRE_VHOST=1`.
fn with_device(name: &str, run: fn()) -> Trial {
    let device = "/dev/vhost-vsock";
    let required = std::env::var_os("REQUIRE_VHOST").is_some_and(|value| value == "1");
    match File::options().read(true).write(true).open(device) {
        Err(error) if !required => Trial::test(name, || Ok(()))
            .with_kind(format!("{device}: {error}"))
            .with_ignored_flag(true),
        _ => kvm_x86(name, run),
    }
}

fn scorecard(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scorecard"));
    command.args(arguments);
    command
}

/// One JSON object a row, until the first row is there.
fn ends_at_ctrl_c() {
    let terminal = Terminal::for_output(&mut scorecard(&["--json"]), 80).unwrap();
    let mut shown = terminal.wait_for("}");
    terminal.interrupt().unwrap();
    let (rest, output) = terminal.output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    shown += &rest;
    let rows = shown.lines().map(|row| serde_json::from_str(row).unwrap());
    let rows: Vec<Value> = rows.collect();
    assert_eq!(rows[0]["name"], "a_a", "{rows:?}");
    let error = String::from_utf8(output.stderr).unwrap();
    let measured = format!("interrupted; {} of ", rows.len());
    assert!(error.contains(&measured), "{error}");
}

fn shows_words() {
    let arguments = ["--notes", "--only", "vhost_user_roundtrip"];
    let terminal = Terminal::for_output(&mut scorecard(&arguments), 80).unwrap();
    let (text, output) = terminal.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let widths = text.lines().map(|line| line.trim_end().chars().count());
    assert!(widths.max().is_some_and(|width| width <= 80), "{text}");
    let words: Vec<_> = text.split_whitespace().collect();
    let text = words.join(" ");
    assert!(
        text.starts_with("Devices of vhost ours other vhost_user_roundtrip "),
        "{text}"
    );
    for part in [
        " a thread of the VMM that carries",
        "for each packet: exits 0.00",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let comparisons = [
        "faster than",
        "slower than",
        "% more than",
        "% less than",
        "the same as",
    ];
    assert!(
        comparisons.iter().any(|words| text.contains(words)),
        "{text}"
    );
}

fn plots() {
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("plots-{}", std::process::id()));
    let (here, out) = (folder.join("here"), folder.join("out"));
    fs::create_dir_all(&here).unwrap();
    let names = |folder| -> Vec<_> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    };
    let memory = |arguments: &[&str]| {
        let mut command = scorecard(&["--only", "memory_4096"]);
        let output = command.args(arguments).current_dir(&here).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(names(&here).is_empty());
    };
    if cfg!(target_arch = "x86_64") {
        memory(&[]);
        memory(&["--out", out.to_str().unwrap()]);
        // Not the plot of the group, which only the whole card writes.
        assert_eq!(names(&out), ["memory_4096.svg"]);
    }
    fs::remove_dir_all(&folder).unwrap();
}

fn refuses() {
    let output = scorecard(&["--only", "nothing"]).output().unwrap();
    assert!(!output.status.success());
    assert!(output.stdout.is_empty());
    assert!(scorecard(&["--version"]).output().unwrap().status.success());
}

/// The note of a row.
fn note(row: &str) -> String {
    let scorecard = scorecard(&["--json", "--only", row]).output().unwrap();
    assert!(scorecard.status.success(), "{scorecard:?}");
    let row: Value = serde_json::from_slice(&scorecard.stdout).unwrap();
    row["note"].as_str().unwrap().to_owned()
}

fn counts_exits() {
    let note = note("level_roundtrip");
    assert!(
        note.contains("exits to user space for it: 0 against 1;"),
        "{note}"
    );
}

fn counts_commits_of_a_hostile_device() {
    let note = note("hostile_2040");
    let counts = note
        .split_once("commits until then ")
        .and_then(|(_, counts)| counts.split_once(" against 1, in the hostile round "));
    let (until_armed, of_the_round) = counts.unwrap_or_else(|| panic!("{note}"));
    // Those of the hostile round, and one of its own.
    assert!(until_armed.parse::<u32>().unwrap() <= 3, "{note}");
    assert!(of_the_round.parse::<u32>().unwrap() <= 2, "{note}");
}

fn counts_ioctls_of_a_retarget() {
    let note = note("msix_retarget_armed");
    assert!(note.contains("commits 1, irqfds 0;"), "{note}");
}

fn counts_commits_of_retargets() {
    let note = note("msix_retarget_exported_64");
    let count = note.split_once("commits in a round at most ");
    let (count, _) = count.and_then(|(_, rest)| rest.split_once(',')).unwrap();
    // None would mean that no vector was retargeted.
    assert_eq!(count.parse(), Ok(1), "{note}");
}

fn counts_wakeups(row: &str) {
    let note = note(row);
    let exits = "exits 0.00 against 0.00, wake-ups of the VMM 0.00 against ";
    let (_, relayed) = note.split_once(exits).unwrap_or_else(|| panic!("{note}"));
    let (wakeups, signals) = relayed.split_once(" for ").unwrap();
    let signals = signals.trim_end_matches(" signals");
    // One wake-up may serve a call and the next kick.
    assert!(wakeups.parse::<f64>().unwrap() >= 1.0, "{note}");
    assert!(signals.parse::<f64>().unwrap() >= 2.0, "{note}");
}

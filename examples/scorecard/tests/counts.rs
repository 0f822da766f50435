// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What rows count. Their times are never asserted.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs::File;
use std::process::{Command, ExitCode};

use kvm_test::{Trial, kvm_x86};
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
    ])
}

/// A trial that needs KVM and `/dev/vhost-vsock`. It is ignored without the device, with the
/// reason, and fails then with `REQUIRE_VHOST=1`.
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

/// The note of a row.
fn note(row: &str) -> String {
    let scorecard = Command::new(env!("CARGO_BIN_EXE_scorecard"))
        .args(["--json", "--only", row])
        // Its plots go below where it runs.
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap();
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
    // Those of the hostile round, and then its own.
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
    // None would mean that nothing was retargeted.
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

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The programs as a person runs them: Ctrl-C, progress, and the width of the terminal.

use std::path::Path;
use std::process::Command;

use kvm_test::{Terminal, Trial, anywhere, kvm_x86};
use serde_json::Value;

const DOORBELL: &str = env!("CARGO_BIN_EXE_doorbell");
const BAR_MOVE: &str = env!("CARGO_BIN_EXE_bar_move");
const INTX: &str = env!("CARGO_BIN_EXE_intx");
const MSIX: &str = env!("CARGO_BIN_EXE_msix");
const ROUTING: &str = env!("CARGO_BIN_EXE_routing");

/// A table of a real guest.
const PC: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../irq-routing/tests/data/pc-routing.txt"
);

/// A run that takes hours.
#[derive(Clone, Copy)]
struct Long {
    name: &'static str,
    program: &'static str,
    arguments: &'static str,
    /// Counts that are equal at the end.
    equal: [&'static str; 2],
}

const LONG: [Long; 4] = [
    Long {
        name: "doorbell",
        program: DOORBELL,
        arguments: "--kicks 4000000000 --idle spin",
        equal: ["kicks", "interrupts"],
    },
    Long {
        name: "bar_move",
        program: BAR_MOVE,
        arguments: "--kicks 4000000000",
        equal: ["kicks", "handled"],
    },
    Long {
        name: "intx",
        program: INTX,
        arguments: "--assertions 4000000000 --irqchip full --chip ioapic",
        equal: ["interrupts", "eois"],
    },
    Long {
        name: "msix",
        program: MSIX,
        arguments: "--triggers 4000000000",
        equal: ["lost", "spurious"],
    },
];

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for long in LONG {
        let test = format!("{}_reports_at_ctrl_c_what_it_has_counted", long.name);
        trials.push(kvm_x86(&test, move || reports_at_ctrl_c(long, "kvm")));
        let test = format!("{test}_on_simvm");
        trials.push(anywhere(&test, move || reports_at_ctrl_c(long, "sim")));
    }
    trials.push(anywhere("programs_tell_their_version", versions));
    trials.push(anywhere("routing_is_no_wider_than_the_terminal", widths));
    trials.push(anywhere("help_is_no_wider_than_the_terminal", help));
    trials.push(anywhere(
        "a_program_that_is_not_on_a_terminal_shows_no_progress",
        silent,
    ));
    trials
}

/// Waits until the program shows progress, which it does only when something is counted.
fn reports_at_ctrl_c(long: Long, backend: &str) {
    const COLUMNS: u16 = 70;
    let mut command = Command::new(long.program);
    command.args(long.arguments.split(' '));
    command.args(["--json", "--backend", backend]);
    let terminal = Terminal::for_errors(&mut command, COLUMNS).unwrap();
    let shown = terminal.wait_for(" of 4000000000");
    let line = shown.rsplit(['\r', '\n']).next().unwrap();
    assert!(line.chars().count() < COLUMNS.into(), "{shown:?}");
    terminal.interrupt().unwrap();
    let (_, output) = terminal.output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["interrupted"], true, "{report}");
    let [one, other] = long.equal;
    assert!(report[one].is_u64(), "{one} of {report}");
    assert_eq!(report[one], report[other], "{one}, {other} of {report}");
    for nothing in ["lost", "doubled", "stuck", "mistold"] {
        let count = report[nothing].as_u64().unwrap_or(0);
        assert_eq!(count, 0, "{nothing} of {report}");
    }
    let counts = ["kicks", "asserted", "triggered"];
    let count = counts.iter().find_map(|name| report[*name].as_u64());
    assert!(count.is_some_and(|count| count > 0), "{report}");
}

fn versions() {
    for program in [DOORBELL, BAR_MOVE, INTX, MSIX, ROUTING] {
        let output = Command::new(program).arg("--version").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let version = String::from_utf8(output.stdout).unwrap();
        assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    }
}

#[track_caller]
fn fits(text: &str, columns: usize) {
    for line in text.lines() {
        // Escape sequences for colours take no columns.
        let line: String = line.split('\x1b').collect();
        let width = line.trim_end_matches('\r').chars().count();
        assert!(width <= columns, "{width} columns: {line:?}");
    }
}

fn widths() {
    for columns in [60, 76, 80, 132] {
        let mut command = Command::new(ROUTING);
        // A long path would not fit.
        let table = Path::new(PC);
        command.current_dir(table.parent().unwrap());
        command.arg(table.file_name().unwrap());
        let terminal = Terminal::for_output(&mut command, columns).unwrap();
        let (text, _) = terminal.output().unwrap();
        assert!(text.contains("GSI 16-23   by a worker"), "{text}");
        assert_eq!(text.contains("● 16-23"), columns >= 76, "{text}");
        fits(&text, columns.into());
    }
    let output = Command::new(ROUTING).arg(PC).output().unwrap();
    fits(&String::from_utf8(output.stdout).unwrap(), 100);
}

fn help() {
    for columns in [60, 80] {
        let mut command = Command::new(INTX);
        let terminal = Terminal::for_output(command.arg("--help"), columns).unwrap();
        let (text, _) = terminal.output().unwrap();
        assert!(text.contains("--assertions"), "{text}");
        fits(&text, columns.into());
    }
}

/// A run of more than a second.
fn silent() {
    let arguments = [
        "--assertions",
        "10000",
        "--backend",
        "sim",
        "--irqchip",
        "full",
    ];
    let output = Command::new(INTX).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    fits(&String::from_utf8(output.stdout).unwrap(), 100);
}

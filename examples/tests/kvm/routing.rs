// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The program `routing`, run as a script and as a person run it.

use std::io::{Read, Write};
use std::process::{Command, ExitStatus, Output, Stdio};

use kvm_test::{Trial, anywhere, kvm_x86};
use serde_json::{Value, json};

/// A table of a real guest.
const PC: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../irq-routing/tests/data/pc-routing.txt"
);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        anywhere("routing_explains_a_real_table", real_table),
        anywhere("routing_puts_the_result_first", result_first),
        anywhere("routing_finds_what_is_wrong", finds_what_is_wrong),
        anywhere("routing_compares_with_a_pc", compares),
        anywhere("routing_folds_neighbours", folds),
        anywhere("routing_explains_one_gsi", one_gsi),
        anywhere("routing_names_the_line_that_it_cannot_read", unreadable),
        anywhere("routing_stops_when_nobody_reads", closed_pipe),
        anywhere("routing_has_an_answer_everywhere", || {
            fresh(&["kvm", "sim"])
        }),
        kvm_x86("routing_explains_a_real_machine", || fresh(&["kvm"])),
    ]
}

fn routing(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_routing"));
    command.args(arguments);
    command
}

#[track_caller]
fn text(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// One object in one line.
#[track_caller]
fn document(output: Output) -> Value {
    let text = text(output);
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Checks the report on a table that KVM refuses; the program must succeed.
#[track_caller]
fn refused(mut output: Output) -> Output {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    output.status = ExitStatus::default();
    output
}

/// Runs the program on a table that comes from a pipe.
fn piped(table: &str, arguments: &[&str]) -> Output {
    let mut command = routing(&["-"]);
    command.args(arguments).stdin(Stdio::piped());
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(table.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

fn real_table() {
    let report = document(routing(&["--json", PC]).output().unwrap());
    assert_eq!(report["backend"], "dump");
    assert_eq!(report["platform"], "x86 irqchip");
    assert_eq!(report["refused"], false);
    assert_eq!(report["problems"], json!([]));
    assert_eq!(report["nowhere"], json!([[64, 4095]]));
    assert_eq!(report["entries"].as_array().unwrap().len(), 79);
    assert_eq!(
        report["entries"][15],
        json!({ "gsi": 0, "type": "pin", "chip": 2, "pin": 2 })
    );
    let explanations = report["explanations"].as_array().unwrap();
    assert_eq!(explanations.len(), 64);
    for (gsi, explanation) in explanations.iter().enumerate() {
        assert_eq!(explanation["gsi"], gsi);
        let travels = match gsi {
            2 | 24.. => "on the spot",
            16..24 => "by a worker thread (a pin)",
            _ => "by a worker thread (several pins)",
        };
        assert_eq!(explanation["travels"], travels, "{explanation}");
    }
    assert_eq!(
        explanations[9],
        json!({
            "gsi": 9,
            "lost": false,
            "travels": "by a worker thread (several pins)",
            "words": "PIC slave pin 1, IOAPIC pin 9",
            "hints": [],
        })
    );
}

fn result_first() {
    let report = text(routing(&[PC]).output().unwrap());
    let at = |part: &str| {
        let at = report.find(part);
        at.unwrap_or_else(|| panic!("no {part:?} in\n{report}"))
    };
    let parts = [
        "wired as QEMU wires a PC",
        "what would be lost",
        "GSI 64-4095: there is no route",
        "what is unusual",
        "GSI 2, 24-63: the dump has no address and data",
        "what each GSI is routed to",
        "  8-15      ──────────────● 0-7 ────────● 8-15 ",
        "in detail",
        "GSI 16-23   by a worker thread (a pin): IOAPIC pin 16 ... IOAPIC pin 23",
    ];
    assert!(parts.map(at).is_sorted(), "{report}");
}

fn finds_what_is_wrong() {
    let table = "gsi=24 type=2 address=0xfee00000 data=5\n\
                 gsi=5 type=1 2 5\ngsi=5 type=1 2 6\n\
                 gsi=25 type=2 address=0 data=0x41\nchip:\n{3}\n";
    let report = document(refused(piped(table, &["--json"])));
    assert_eq!(report["refused"], true);
    let travels: Vec<_> = report["explanations"].as_array().unwrap().iter().collect();
    assert_eq!(travels[0]["lost"], true);
    assert_eq!(
        travels[0]["words"],
        "KVM refuses a table with these entries"
    );
    assert_eq!(travels[1]["travels"], "lost");
    assert!(
        travels[1]["words"]
            .as_str()
            .unwrap()
            .starts_with("vector 0x05")
    );
    assert_eq!(travels[2]["hints"].as_array().unwrap().len(), 1);
    assert_eq!(report["problems"][0]["gsis"], json!([5]));
    assert_eq!(report["problems"][0]["refused"], true);
    assert_eq!(report["problems"][1]["gsis"], json!([3]));
    assert_eq!(report["problems"][1]["refused"], false);

    let report = text(refused(piped(table, &[])));
    for part in [
        "every new route: KVM refuses the whole table",
        "GSI 24: lost: vector 0x05",
        "the kernel has GSI 3 at PIC master pin 0 where the entries say GSI -1",
        "  25        ──────────────────────────────────────────●             on the spot, unusual",
        "  24        ──────────────────────────────────────────●             LOST\n",
    ] {
        assert!(report.contains(part), "no {part:?} in\n{report}");
    }
}

fn compares() {
    let table = std::fs::read_to_string(PC).unwrap();
    let report = text(piped(&table.replace("gsi=9 type=1 1 1\n", ""), &[]));
    let odd = "GSI 9 is routed to IOAPIC pin 9; as QEMU wires a PC, it is routed to PIC slave \
        pin 1, IOAPIC pin 9";
    assert!(report.contains(odd), "{report}");
    let report = text(piped("gsi=9 type=1 1 1\n", &[]));
    assert!(!report.contains("QEMU"), "{report}");
}

/// GSIs with successive numbers that are routed to successive pins in the same way are folded, and
/// no others.
fn folds() {
    let table = "gsi=16 type=1 2 16\ngsi=17 type=1 2 17\ngsi=19 type=1 2 18\ngsi=20 type=1 2 20\n\
                 gsi=24 type=2\ngsi=26 type=2\ngsi=27 type=2\n\
                 gsi=30 type=2 address=0xfee00000 data=0x41\n\
                 gsi=31 type=2 address=0xfee00000 data=0x42\n\
                 gsi=32 type=2 address=0xfee01000 data=0x43\n\
                 gsi=40 type=2 address=0xfee00000 data=1\n\
                 gsi=41 type=2 address=0xfee00000 data=2\n\
                 gsi=50 type=1 7 7\ngsi=51 type=1 7 7\n";
    let report = text(refused(piped(table, &[])));
    let drawing = report.split("what each GSI is routed to\n").nth(1).unwrap();
    let lines = drawing.lines().skip(1).take_while(|line| !line.is_empty());
    let gsis: Vec<_> = lines
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    let expected = [
        "16-17", "19", "20", "24", "26-27", "30-31", "32", "40", "41", "50-51",
    ];
    assert_eq!(gsis, expected, "{report}");
    let lost = "GSI 50-51: lost: KVM refuses a table with these entries";
    assert!(report.contains(lost), "{report}");
}

fn one_gsi() {
    let report = text(routing(&[PC, "--gsi", "12"]).output().unwrap());
    assert_eq!(
        report,
        "GSI 12: by a worker thread (several pins): PIC slave pin 4, IOAPIC pin 12\n  \
         gsi=12 type=1 1 4\n  gsi=12 type=1 2 12\n"
    );
    let report = document(routing(&[PC, "--gsi", "70000", "--json"]).output().unwrap());
    assert_eq!(report["entries"], json!([]));
    assert_eq!(report["explanations"][0]["travels"], "lost");
    let table = "gsi=4 type=1 0 4\ngsi=5 type=1 2 24\ngsi=6 type=1 0 7\ngsi=7 type=1 0 7\n";
    assert_eq!(
        text(refused(piped(table, &["--gsi", "4"]))),
        "GSI 4: by a worker thread (a pin): PIC master pin 4\n  gsi=4 type=1 0 4\n  \
         GSI 5 is routed to IOAPIC pin 24, and KVM refuses the table: the chip has 24\n"
    );
}

#[track_caller]
fn fails(output: Output, message: &str) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), message);
    assert!(output.stdout.is_empty());
}

fn unreadable() {
    fails(
        piped("\ngsi=1 type=9\n", &["--json"]),
        "routing: -: line 2: expected the type of the entry, type=1 to type=5, found \"type=9\"\n",
    );
    let output = routing(&["/nonexistent"]).output().unwrap();
    fails(
        output,
        "routing: cannot read /nonexistent: No such file or directory (os error 2)\n",
    );
    let output = routing(&["/proc/self/exe"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

/// The output is larger than a pipe's buffer, and the reader closes after one byte.
fn closed_pipe() {
    let table: String = (0..4000)
        .map(|gsi| format!("gsi={gsi} type=1 9 9\n"))
        .collect();
    let mut command = routing(&["-", "--json"]);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdin.write_all(table.as_bytes()).unwrap();
    drop(stdin);
    stdout.read_exact(&mut [0]).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

/// Without a table, the program creates a VM.
fn fresh(backends: &[&str]) {
    let report = document(routing(&["--json"]).output().unwrap());
    let backend = report["backend"].as_str().unwrap();
    assert!(backends.contains(&backend), "{backend}");
    assert_eq!(report["problems"], json!([]));
    assert_eq!(report["explanations"].as_array().unwrap().len(), 26);
    assert_eq!(report["nowhere"], json!([[2, 2], [27, 4095]]));
    let text = text(routing(&[]).output().unwrap());
    assert!(text.starts_with("routing: a fresh PC on "), "{text}");
    let table = text.split_once("for a bug report\n").unwrap().1;
    let again = document(piped(table, &["--json"]));
    for part in ["entries", "explanations", "problems"] {
        assert_eq!(again[part], report[part]);
    }
}

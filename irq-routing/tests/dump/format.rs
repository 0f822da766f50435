// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Reading and printing of dumps.

use std::sync::Arc;

use irq_routing::{
    Dump, DumpTarget, EntryKind, IrqChip, MsiMessage, Pin, Pins, Platform, Problem, RoutingTable,
    Wiring,
};
use kvm_test::Recorder;
use notify_core::RouteTarget;

use crate::{PC, dump};

/// The lines that are not comments.
fn lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn a_real_table_is_printed_as_it_was_read() {
    let pc = dump(PC);
    assert_eq!(pc.entries().len(), 79);
    assert_eq!((pc.platform(), pc.limit()), (Platform::X86, 4096));
    assert_eq!(pc.to_string().lines().collect::<Vec<_>>(), lines(PC));
    assert_eq!(pc.problems(), []);
}

#[test]
fn the_wiring_of_a_pc_is_printed_as_the_real_one() {
    let printed = Dump::from(&Wiring::pc()).to_string();
    let mut real = lines(PC);
    real.retain(|line| !line.contains("type=2"));
    assert_eq!(printed.lines().collect::<Vec<_>>(), real);

    let table = RoutingTable::builder(Arc::new(Recorder::default()))
        .wiring(Wiring::pc())
        .build()
        .unwrap();
    assert_eq!(table.to_string(), printed);
}

#[test]
fn a_table_prints_messages_behind_pins() {
    let table = RoutingTable::builder(Arc::new(Recorder::default()))
        .wiring(Wiring::none(Platform::X86))
        .build()
        .unwrap();
    let low = table.lease_exact(3).unwrap();
    low.set_route(MsiMessage::new(0xfee0_0000, 0x4041)).unwrap();
    let pin = |chip, number| Pin::new(chip, number).unwrap();
    let both = Pins::new([pin(IrqChip::IoApic, 9), pin(IrqChip::PicSlave, 1)]).unwrap();
    let mut transaction = table.transaction();
    transaction.wire(table.gsi(9).unwrap(), both);
    transaction.wire(table.gsi(4).unwrap(), pin(IrqChip::IoApic, 4));
    transaction.commit().unwrap();
    let high = table.lease().unwrap();
    high.set_route(MsiMessage::new(0x1_fee0_1000, 1).with_devid(0x8))
        .unwrap();

    let printed = table.to_string();
    let head: Vec<_> = printed.lines().take(6).collect();
    assert_eq!(
        head,
        [
            "gsi=9 type=1 1 1",
            "gsi=4 type=1 2 4",
            "gsi=9 type=1 2 9",
            "gsi=3 type=2 address=0xfee00000 data=0x4041",
            "gsi=24 type=2 address=0x1fee01000 data=0x1 devid=0x8",
            "chip:",
        ]
    );
    assert_eq!(printed.lines().count(), 9);
    assert_eq!(dump(&printed), table.dump());
    drop((low, high));
    assert_eq!(table.dump().entries().len(), 3, "as committed");
}

#[test]
fn every_kind_of_entry_goes_there_and_back() {
    let text = "gsi=4 type=1 2 4\n\
                gsi=24 type=2 address=0xfee00000 data=0x41\n\
                gsi=25 type=2 address=0x0 data=0x0 devid=0xffffffff\n\
                gsi=26 type=2\n\
                gsi=27 type=3\n\
                gsi=28 type=4 vcpu=1 sint=2\n\
                gsi=29 type=4\n\
                gsi=30 type=5 port=1 vcpu=2 priority=3\n\
                gsi=4294967295 type=5\n";
    let dump = dump(text);
    assert_eq!(dump.to_string(), text);
    let message = MsiMessage::new(0, 0).with_devid(u32::MAX);
    let entry = |index: usize| (dump.entries()[index].gsi, dump.entries()[index].target);
    assert_eq!(entry(2), (25, RouteTarget::Msi(message).into()));
    let untold = |index: usize| match dump.entries()[index].target {
        DumpTarget::Untold(kind) => kind,
        other => panic!("{other:?}"),
    };
    assert_eq!(untold(3), EntryKind::Msi);
    assert_eq!(untold(4), EntryKind::S390Adapter);
    assert_eq!(untold(6), EntryKind::HvSint);
    assert_eq!(untold(8), EntryKind::XenEvtchn);
    let channel = RouteTarget::XenEvtchn {
        port: 1,
        vcpu: 2,
        priority: 3,
    };
    assert_eq!(entry(7), (30, channel.into()));
    let source = RouteTarget::HvSint { vcpu: 1, sint: 2 };
    assert_eq!(entry(5), (28, source.into()));
}

#[test]
fn reading_is_lenient_about_layout() {
    let text = "\u{feff}\r\n  # a comment\r\n\
                chip:\r\n{ -1,0x5 }\r\n\t{}\r\n\
                \tgsi=0x5   type=1\t0 1  # the keyboard\r\n\r\n\
                gsi=24 type=2 data=65 devid=3 address=0xFEE00000";
    let read = dump(text);
    let plain =
        "gsi=5 type=1 0 1\ngsi=24 type=2 address=0xfee00000 data=0x41 devid=0x3\nchip:\n{-1, 5}\n";
    assert_eq!(read, dump(plain));
    assert_eq!(read.problems(), []);
    // Empty rows after those that were printed mean nothing.
    let row = format!("{{-1, 5{}}}\n{{-1}}\n{{}}\n", ", -1".repeat(40));
    assert_eq!(dump(&plain.replace("{-1, 5}\n", &row)), read);
}

#[test]
fn another_machine_is_named() {
    let gic = Dump::from(&Wiring::gic(2).unwrap());
    let text = "platform=arm64-gic\ngsi=0 type=1 0 0\ngsi=1 type=1 0 1\nchip:\n{0, 1}\n";
    assert_eq!(gic.to_string(), text);
    assert_eq!(dump(text), gic);

    let text = "platform=riscv64-aia\ngsis=1024\nchip:\n{}\n";
    let small = dump(text);
    assert_eq!(
        (small.platform(), small.limit()),
        (Platform::Riscv64Aia, 1024)
    );
    assert_eq!(small.to_string(), text);
    let split = Dump::from(&Wiring::none(Platform::X86Split));
    assert_eq!(split.to_string().lines().count(), 5, "the kernel's rows");
    assert_eq!(dump(&split.to_string()), split);
    assert_eq!(dump(""), dump("# nothing"));
}

/// KVM counts the pins of both PICs together, so those of the second start at column 8.
#[test]
fn the_reverse_map_has_the_last_of_two() {
    let entries = "gsi=7 type=1 1 3\ngsi=5 type=1 1 3\ngsi=9 type=1 0 7\n";
    let before = "-1, ".repeat(7);
    let map = |gsi| format!("{entries}chip:\n{{{before}9}}\n{{{before}-1, -1, -1, -1, {gsi}}}\n");
    let contradictions = |text: &str| {
        let problems = dump(text).problems().into_iter();
        let contradiction = |problem: &Problem| matches!(problem, Problem::Contradiction { .. });
        problems.filter(contradiction).count()
    };
    assert_eq!(contradictions(&map(5)), 0);
    assert_eq!(contradictions(&map(7)), 1);
}

#[track_caller]
fn refused(text: &str, line: usize, expected: &str, found: &str) {
    let error = text.parse::<Dump>().unwrap_err();
    let words = format!("line {line}: expected {expected}, found \"{found}\"");
    assert_eq!(error.to_string(), words);
}

#[test]
fn what_cannot_be_read_is_named_with_its_line() {
    const ENTRY: &str = "an entry such as \"gsi=4 type=1 2 4\"";
    const GSI: &str = "the number of a GSI";
    const KIND: &str = "the type of the entry, type=1 to type=5";
    const MSI: &str = "address=, data= and perhaps devid=, or nothing";
    refused("\n#\nhello world", 3, ENTRY, "hello world");
    refused("gsi", 1, ENTRY, "gsi");
    refused("chip", 1, ENTRY, "chip");
    refused("gsi= type=2", 1, GSI, "");
    refused("gsi=-1 type=2", 1, GSI, "-1");
    refused("gsi=+1 type=2", 1, GSI, "+1");
    refused("gsi=0x+1 type=2", 1, GSI, "0x+1");
    refused("gsi=4294967296 type=2", 1, GSI, "4294967296");
    refused("gsi=1", 1, KIND, "");
    refused("gsi=1 type=6", 1, KIND, "type=6");
    refused("gsi=1 type=1 2", 1, "the number of a pin", "");
    refused("gsi=1 type=1 2 3 4", 1, "the end of the line", "4");
    refused("gsi=1 type=3 4", 1, "the end of the line", "4");
    refused("gsi=1 type=2 address=1", 1, MSI, "address=1");
    refused("gsi=1 type=2 data=1 devid=3", 1, MSI, "devid=3");
    refused("gsi=1 type=2 1 2", 1, MSI, "1");
    refused("gsi=1 type=2 data=1 data=1", 1, "one data", "data=1");
    refused(
        "gsi=1 type=2 address=0x10000000000000000 data=1",
        1,
        "an address of 64 bits",
        "0x10000000000000000",
    );
    refused(
        "gsi=1 type=2 address=1 data=0x100000000",
        1,
        "data of 32 bits",
        "0x100000000",
    );
    refused(
        "gsi=1 type=4 vcpu=1",
        1,
        "vcpu= and sint=, or nothing",
        "vcpu=1",
    );
    refused(
        "gsi=1 type=5 port=1 port=1",
        1,
        "port=, vcpu= and priority=, or nothing",
        "port=1",
    );
    refused("{1}", 1, "\"chip:\" before the rows of chips", "{1}");
    refused("chip:\n{1", 2, "a row such as \"{0, 1, -1}\"", "{1");
    refused("chip:\n{1,}", 2, "the number of a GSI, or -1", "");
    refused("chip:\n{-2}", 2, "the number of a GSI, or -1", "-2");
    refused("chip:\nchip:", 2, "one list of chips", "chip:");
    refused("gsis=1\ngsis=1", 2, "one number of GSIs", "gsis=1");
    refused("gsis=1 1", 1, "the end of the line", "1");
    refused(
        "platform=vax",
        1,
        "x86, x86-split, arm64-gic or riscv64-aia",
        "vax",
    );
    refused(
        "platform=x86\nplatform=x86",
        2,
        "one platform",
        "platform=x86",
    );
    let long = "\u{1b}é".repeat(1000);
    let error = long.parse::<Dump>().unwrap_err();
    let found = "\\u{1b}é".repeat(20);
    assert_eq!(
        error.to_string(),
        format!("line 1: expected {ENTRY}, found \"{found}\"")
    );
}

/// However long the text is, the result is no larger than a kernel's table may be.
#[test]
fn more_than_any_kernel_has_is_not_read() {
    let entry = "gsi=0 type=1 9 9\n";
    let (row, cell) = ("{}\n", "0,");
    for (most, text, line, expected) in [
        (
            1 << 16,
            &|count| entry.repeat(count),
            1 << 16,
            "at most 65536 entries",
        ),
        (
            16,
            &|count| format!("chip:\n{}", row.repeat(count)),
            17,
            "at most 16 rows of chips",
        ),
        (
            1024,
            &|count| format!("chip:\n{{{}0}}\n", cell.repeat(count - 1)),
            1,
            "at most 1024 pins in a row",
        ),
    ] as [(usize, &dyn Fn(usize) -> String, usize, &str); 3]
    {
        let full = dump(&text(most));
        assert!(full.problems().len() <= 2 * most);
        assert!(full.to_string().len() < 4 << 20);
        let text = text(1_000_000);
        let mut read = None;
        let used = allocation_counter::measure(|| read = Some(text.parse::<Dump>()));
        let error = read.unwrap().unwrap_err();
        let words = format!("line {}: expected {expected}, found \"", line + 1);
        assert!(error.to_string().starts_with(&words), "{error}");
        assert!(used.bytes_max < 8 << 20, "{} bytes", used.bytes_max);
    }
}

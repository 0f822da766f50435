// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Problems that are found in a table.

use irq_routing::{EntryKind, Platform, Problem};

use crate::{PC, dump, problems};

/// KVM refuses the table, for this reason.
#[track_caller]
fn refused(text: &str, why: &str) {
    assert_eq!(problems(text), [why]);
    assert!(dump(text).problems()[0].is_refused());
}

#[test]
fn what_kvm_refuses_is_loaded_and_named() {
    refused(
        "gsi=5 type=1 2 5\ngsi=5 type=1 2 6",
        "GSI 5 is routed twice to the IOAPIC, and KVM refuses the table",
    );
    refused(
        "gsi=5 type=1 2 5\ngsi=5 type=2",
        "GSI 5 is routed to a message and to something else, and KVM refuses the table",
    );
    refused(
        "gsi=5 type=4\ngsi=5 type=4",
        "GSI 5 is routed to a Hyper-V interrupt source and to something else, and KVM refuses \
            the table",
    );
    refused(
        "gsi=5 type=1 1 8",
        "GSI 5 is routed to PIC slave pin 8, and KVM refuses the table: the chip has 8",
    );
    refused(
        "gsi=5 type=1 3 0",
        "GSI 5 is routed to chip 3, and KVM refuses the table: x86 irqchip has no such chip",
    );
    refused(
        "platform=x86-split\ngsi=5 type=1 2 5",
        "GSI 5 is routed to chip 2, and KVM refuses the table: x86 split irqchip has no such chip",
    );
    refused(
        "platform=arm64-gic\ngsi=5 type=5",
        "GSI 5 is routed to a Xen event channel, and KVM refuses the table: arm64 GIC has none",
    );
    refused(
        "gsi=5 type=3",
        "GSI 5 is routed to an s390 adapter, and KVM refuses the table: x86 irqchip has none",
    );
    refused(
        "gsi=4096 type=2",
        "GSI 4096 is out of range, and KVM refuses the table: the VM has 4096",
    );
    refused(
        "gsis=1\ngsi=0 type=1 0 0\ngsi=0 type=1 2 0",
        "there are 2 entries, and KVM refuses the table: it takes 1",
    );
    for fine in [
        "platform=arm64-gic\ngsi=5 type=1 0 987",
        "platform=riscv64-aia\ngsi=5 type=1 0 1023",
        "gsi=4095 type=2",
        "gsi=5 type=4\ngsi=6 type=5",
        "gsi=5 type=1 0 5\ngsi=5 type=1 1 5\ngsi=5 type=1 2 23",
    ] {
        assert_eq!(problems(fine), <[&str; 0]>::default(), "{fine}");
    }
    assert_eq!(problems("platform=arm64-gic\ngsi=5 type=1 0 988").len(), 1);
}

#[test]
fn of_two_gsis_on_one_pin_the_first_hears_no_eoi() {
    let text = "gsi=7 type=1 2 5\ngsi=5 type=1 2 5\n";
    assert_eq!(
        problems(text),
        [
            "GSI 7 and GSI 5 are both routed to IOAPIC pin 5: only GSI 5, the last in the table, \
             gets its EOIs"
        ]
    );
    assert!(!dump(text).problems()[0].is_refused());
}

#[test]
fn a_reverse_map_that_contradicts_the_entries_is_named() {
    let without_timer = PC.replace("{-1, 1, 0, 3", "{-1, 1, -1, 3");
    assert_eq!(
        problems(&without_timer),
        ["the kernel has GSI -1 at IOAPIC pin 2 where the entries say GSI 0"]
    );
    let without_entry = PC.replace("gsi=9 type=1 1 1\n", "");
    assert_eq!(
        problems(&without_entry),
        ["the kernel has GSI 9 at PIC slave pin 1 where the entries say GSI -1"]
    );
    // KVM counts the pins of both PICs together: column 0 of the second is none of its pins.
    let odd = "chip:\n{}\n{3}\n{}\n{-1, 4}\n";
    assert_eq!(
        problems(odd),
        [
            "the kernel has GSI 3 at chip 1, column 0, which is not a pin where the entries say \
             GSI -1",
            "the kernel has GSI 4 at chip 3, column 1, which is not a pin where the entries say \
             GSI -1",
        ]
    );
    let missing_row = PC.replace("{-1, 1, 0,", "# {");
    assert_eq!(problems(&missing_row).len(), 23);
}

#[test]
fn problems_are_values() {
    let problems = dump("gsis=64\ngsi=64 type=3\n").problems();
    assert!(
        matches!(
            problems[..],
            [
                Problem::OutOfRange {
                    gsi: 64,
                    limit: 64,
                    ..
                },
                Problem::NoSuchKind {
                    gsi: 64,
                    kind: EntryKind::S390Adapter,
                    platform: Platform::X86,
                    ..
                },
            ]
        ),
        "{problems:?}"
    );
}

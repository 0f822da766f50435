// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Random tables there and back, and texts that nobody meant to be one.

use std::sync::Arc;

use irq_routing::{
    Dump, DumpEntry, DumpTarget, EntryKind, IrqChip, MsiMessage, Pin, Platform, RoutingTable,
    Wiring,
};
use kvm_test::Recorder;
use notify_core::RouteTarget;
use proptest::prelude::*;

use crate::PC;

fn platform() -> impl Strategy<Value = Platform> {
    prop_oneof![
        Just(Platform::X86),
        Just(Platform::X86Split),
        Just(Platform::Arm64Gic),
        Just(Platform::Riscv64Aia),
    ]
}

/// Small ones more often, so that they meet.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0..4u32, 2 => 0..30u32, 1 => 980..1030u32, 1 => any::<u32>()]
}

fn target() -> impl Strategy<Value = DumpTarget> {
    let message = (any::<u64>(), any::<u32>(), any::<Option<u32>>());
    let message = message.prop_map(|(address, data, devid)| {
        RouteTarget::Msi(MsiMessage {
            address,
            data,
            devid,
        })
    });
    let kinds = [
        EntryKind::Msi,
        EntryKind::S390Adapter,
        EntryKind::HvSint,
        EntryKind::XenEvtchn,
    ];
    let entry = prop_oneof![
        4 => (number(), number()).prop_map(|(chip, pin)| RouteTarget::Pin { chip, pin }),
        2 => message,
        1 => (number(), number()).prop_map(|(vcpu, sint)| RouteTarget::HvSint { vcpu, sint }),
        1 => (number(), number(), number()).prop_map(|(port, vcpu, priority)| {
            RouteTarget::XenEvtchn { port, vcpu, priority }
        }),
    ];
    prop_oneof![
        8 => entry.prop_map(DumpTarget::Entry),
        1 => prop::sample::select(kinds.to_vec()).prop_map(DumpTarget::Untold),
    ]
}

fn entries() -> impl Strategy<Value = Vec<DumpEntry>> {
    let entry = (number(), target()).prop_map(|(gsi, target)| DumpEntry::new(gsi, target));
    prop::collection::vec(entry, 0..24)
}

/// Rows as somebody may have edited them.
fn rows() -> impl Strategy<Value = String> {
    let cell = prop_oneof![3 => Just("-1".to_owned()), 2 => number().prop_map(|n| n.to_string())];
    let row =
        prop::collection::vec(cell, 0..30).prop_map(|row| format!("{{{}}}\n", row.join(", ")));
    prop::collection::vec(row, 0..5).prop_map(|rows| format!("chip:\n{}", rows.concat()))
}

/// Everything that can be asked of a dump, and that it is printed as what it is.
fn exercise(dump: &Dump) {
    let again: Dump = dump.to_string().parse().unwrap();
    assert_eq!(&again, dump);
    for problem in dump.problems() {
        assert!(!problem.to_string().is_empty());
    }
    for (gsi, explanation) in dump.explain_all() {
        assert!(!explanation.to_string().is_empty(), "GSI {gsi}");
    }
}

/// The pins that exist, and of each the last entry that leads there, found the slow way.
fn check_reverse_map(dump: &Dump) {
    let chips: &[_] = match dump.platform() {
        Platform::X86 => &[IrqChip::PicMaster, IrqChip::PicSlave, IrqChip::IoApic],
        Platform::Arm64Gic => &[IrqChip::Gic],
        Platform::Riscv64Aia => &[IrqChip::Aplic],
        _ => &[],
    };
    let map = dump.reverse_map();
    for chip in chips {
        for number in 0..u32::from(chip.pins()) {
            let target = RouteTarget::Pin {
                chip: chip.number(),
                pin: number,
            };
            let mut last_first = dump.entries().iter().rev();
            let last = last_first.find(|entry| entry.target == target.into());
            let pin = Pin::new(*chip, number).unwrap();
            assert_eq!(map.gsi(pin), last.map(|entry| entry.gsi), "{pin}");
        }
    }
}

proptest! {
    #[test]
    fn any_dump_goes_there_and_back(
        platform in platform(), limit in number(), entries in entries(), rows in rows()
    ) {
        let dump = Dump::new(platform, limit, entries);
        exercise(&dump);
        check_reverse_map(&dump);
        assert!(dump.problems().iter().all(|problem| {
            !matches!(problem, irq_routing::Problem::Contradiction { .. })
        }));
        let text = dump.to_string();
        let (head, _) = text.split_once("chip:\n").unwrap();
        exercise(&head.parse().unwrap());
        exercise(&format!("{head}{rows}").parse().unwrap());
    }

    #[test]
    fn any_table_goes_there_and_back(
        wired in prop::bool::ANY,
        messages in prop::collection::vec(
            (any::<u64>(), any::<u32>(), any::<Option<u32>>()), 0..16),
    ) {
        let vm = Arc::new(Recorder::default());
        let wiring = if wired { Wiring::pc() } else { Wiring::none(Platform::X86) };
        let table = RoutingTable::builder(vm).wiring(wiring).build().unwrap();
        table.recommit().unwrap();
        let leases: Vec<_> = messages.iter().map(|(address, data, devid)| {
            let (address, data, devid) = (*address, *data, *devid);
            table.lease_msi(MsiMessage { address, data, devid }).unwrap()
        }).collect();
        let dump: Dump = table.to_string().parse().unwrap();
        assert_eq!(dump, table.dump());
        assert_eq!(dump.problems(), []);
        exercise(&dump);
        for (gsi, route) in table.routes() {
            assert_eq!(table.explain(gsi), dump.explain(gsi.number()), "{route}");
        }
        drop(leases);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(dump) = String::from_utf8_lossy(&bytes).parse::<Dump>() {
            exercise(&dump);
        }
    }

    #[test]
    fn no_edit_of_a_real_dump_makes_it_panic(
        edits in prop::collection::vec(
            (any::<prop::sample::Index>(), 0..6usize, "[0-9a-fx=:{},\\-# \t\r\né]{0,6}"), 1..12)
    ) {
        let mut text: Vec<char> = PC.chars().collect();
        for (at, remove, insert) in edits {
            let at = at.index(text.len());
            let end = (at + remove).min(text.len());
            text.splice(at..end, insert.chars());
        }
        let text: String = text.into_iter().collect();
        if let Ok(dump) = text.parse::<Dump>() {
            exercise(&dump);
        }
    }
}

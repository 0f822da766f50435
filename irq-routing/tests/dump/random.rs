// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Random tables written and read back, and random texts.

use std::sync::Arc;

use irq_routing::{Dump, MsiMessage, Platform, Problem, RoutingTable, Wiring};
use kvm_test::Recorder;
use proptest::prelude::*;

use crate::PC;

/// A chip: its number, how many pins it has, and the column of the first.
type Chip = (u32, u32, usize);

/// The names of platforms, and their chips.
const PLATFORMS: [(&str, &[Chip]); 4] = [
    ("x86", &[(0, 8, 0), (1, 8, 8), (2, 24, 0)]),
    ("x86-split", &[]),
    ("arm64-gic", &[(0, 988, 0)]),
    ("riscv64-aia", &[(0, 1024, 0)]),
];

/// Small ones more often, so that they collide.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0..4u32, 2 => 0..30u32, 1 => 980..1030u32, 1 => any::<u32>()]
}

/// The rest of a line after its GSI.
fn target() -> impl Strategy<Value = String> {
    let numbers = || (number(), number(), number());
    let message = (any::<u64>(), any::<u32>(), any::<Option<u32>>());
    let message = message.prop_map(|(address, data, devid)| {
        let devid = devid.map_or(String::new(), |devid| format!(" devid={devid:#x}"));
        format!("type=2 address={address:#x} data={data:#x}{devid}")
    });
    prop_oneof![
        4 => numbers().prop_map(|(chip, pin, _)| format!("type=1 {chip} {pin}")),
        2 => message,
        1 => numbers().prop_map(|(vcpu, sint, _)| format!("type=4 vcpu={vcpu} sint={sint}")),
        1 => numbers().prop_map(|(port, vcpu, priority)| {
            format!("type=5 port={port} vcpu={vcpu} priority={priority}")
        }),
        1 => (2..6_u32).prop_map(|kind| format!("type={kind}")),
    ]
}

fn entries() -> impl Strategy<Value = Vec<(u32, String)>> {
    prop::collection::vec((number(), target()), 0..24)
}

/// Rows as if edited by hand.
fn rows() -> impl Strategy<Value = String> {
    let cell = prop_oneof![3 => Just("-1".to_owned()), 2 => number().prop_map(|n| n.to_string())];
    let row =
        prop::collection::vec(cell, 0..30).prop_map(|row| format!("{{{}}}\n", row.join(", ")));
    prop::collection::vec(row, 0..5).prop_map(|rows| format!("chip:\n{}", rows.concat()))
}

/// Calls every function of a dump, and checks that it prints and reads back the same.
fn exercise(dump: &Dump) {
    let again: Dump = dump.to_string().parse().unwrap();
    assert_eq!(&again, dump);
    for problem in dump.problems() {
        assert!(!problem.to_string().is_empty());
    }
    for entry in dump.entries() {
        let explanation = dump.explain(entry.gsi);
        assert!(!explanation.to_string().is_empty(), "{entry}");
    }
}

/// The kernel's rows for these entries, computed the slow way: for each pin that exists, the last
/// entry that is routed there.
fn reverse_map(chips: &[Chip], entries: &[(u32, String)]) -> String {
    let mut rows = String::from("chip:\n");
    for (chip, pins, first) in chips {
        let mut cells = vec![-1; *first];
        for pin in 0..*pins {
            let target = format!("type=1 {chip} {pin}");
            let last = entries.iter().rev().find(|(_, entry)| *entry == target);
            cells.push(last.map_or(-1, |(gsi, _)| i64::from(*gsi)));
        }
        let cells: Vec<_> = cells.iter().map(ToString::to_string).collect();
        rows += &format!("{{{}}}\n", cells.join(", "));
    }
    rows
}

proptest! {
    #[test]
    fn any_dump_goes_there_and_back(
        platform in prop::sample::select(PLATFORMS.to_vec()),
        limit in number(), entries in entries(), rows in rows()
    ) {
        let (name, chips) = platform;
        let lines: String =
            entries.iter().map(|(gsi, entry)| format!("gsi={gsi} {entry}\n")).collect();
        let head = format!("platform={name}\ngsis={limit}\n{lines}");
        let dump: Dump = head.parse().unwrap();
        assert_eq!(dump.entries().len(), entries.len());
        let printed = dump.to_string();
        assert!(printed.ends_with(&lines), "{printed}");
        exercise(&dump);
        let map = reverse_map(chips, &entries);
        let with_map: Dump = format!("{head}{map}").parse().unwrap();
        exercise(&with_map);
        assert!(!with_map.problems().iter().any(|problem| {
            matches!(problem, Problem::Contradiction { .. })
        }), "{map}");
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

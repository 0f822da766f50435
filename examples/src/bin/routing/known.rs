// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How a table's pins differ from known wirings.

use std::collections::{BTreeMap, BTreeSet};

use irq_routing::{Dump, DumpTarget, Pin, Pins, Platform, Wiring};
use notify_core::RouteTarget;

use crate::line::chips;
use crate::report::Report;

/// With more differences, the table is of another kind of VM.
const MOST: usize = 8;

/// The result of the comparison.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The pins are those of this wiring.
    Same(&'static str),
    /// The pins are almost those of a known wiring; the differences.
    Differs(Vec<String>),
    /// No known wiring is similar.
    None,
}

/// Compares with the most similar wiring.
pub(crate) fn compare(report: &Report) -> Verdict {
    if report.dump.platform() != Platform::X86 {
        return Verdict::None;
    }
    let pins = pins(&report.dump);
    let known = [
        (Wiring::pc(), "as QEMU wires a PC"),
        (
            Wiring::kernel_default_x86(),
            "as KVM wires a new VM (the timer at IOAPIC pin 0; QEMU wires it to pin 2)",
        ),
    ];
    let compared = known.map(|(wiring, name)| (differences(&pins, &wiring, name), name));
    let nearest = compared.into_iter().min_by_key(|(list, _)| list.len());
    match nearest {
        Some((list, name)) if list.is_empty() => Verdict::Same(name),
        Some((list, _)) if list.len() <= MOST => Verdict::Differs(list),
        _ => Verdict::None,
    }
}

/// The pins of each GSI that has only pins, and only such that KVM takes.
fn pins(dump: &Dump) -> BTreeMap<u32, Pins> {
    let mut pins = BTreeMap::<u32, Option<Vec<Pin>>>::new();
    for entry in dump.entries() {
        let pin = match entry.target {
            DumpTarget::Entry(RouteTarget::Pin { chip, pin }) => {
                let mut chips = chips(dump.platform()).iter();
                let chip = chips.find(|known| known.number() == chip);
                chip.and_then(|chip| Pin::new(*chip, pin).ok())
            }
            _ => None,
        };
        let all = pins.entry(entry.gsi).or_insert_with(|| Some(Vec::new()));
        *all = all.take().zip(pin).map(|(mut all, pin)| {
            all.push(pin);
            all
        });
    }
    let pins = pins.into_iter();
    pins.filter_map(|(gsi, pins)| Some((gsi, Pins::new(pins?).ok()?)))
        .collect()
}

fn differences(pins: &BTreeMap<u32, Pins>, wiring: &Wiring, name: &str) -> Vec<String> {
    let known = self::pins(&Dump::from(wiring));
    let gsis: BTreeSet<_> = pins.keys().chain(known.keys()).collect();
    let words = |pins: Option<&Pins>| pins.map_or("no pin".to_owned(), Pins::to_string);
    let different = gsis
        .into_iter()
        .filter(|gsi| pins.get(gsi) != known.get(gsi));
    let differences = different.map(|gsi| {
        let (here, there) = (words(pins.get(gsi)), words(known.get(gsi)));
        format!("GSI {gsi} is routed to {here}; {name}, it is routed to {there}")
    });
    differences.collect()
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Run`]: neighbouring GSIs that are routed to neighbouring pins in the same way.

use std::collections::BTreeMap;

use irq_routing::{Dump, DumpTarget, IrqChip, MsiMessage, Platform};
use notify_core::RouteTarget;

use crate::ranges::range;
use crate::report::{Report, Travel};

/// What one GSI is routed to.
#[derive(Debug, Clone)]
pub(crate) struct Line<'a> {
    pub(crate) gsi: u32,
    /// By chip.
    pins: Vec<Option<u32>>,
    single: Option<DumpTarget>,
    pub(crate) travel: &'a Travel,
    /// Whether something about it is unusual.
    pub(crate) is_odd: bool,
}

/// Consecutive lines that differ only by their numbers.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) first: Line<'a>,
    pub(crate) last: Line<'a>,
}

/// The chips of a platform, in the order of KVM's numbers.
pub(crate) fn chips(platform: Platform) -> &'static [IrqChip] {
    match platform {
        Platform::X86 => &[IrqChip::PicMaster, IrqChip::PicSlave, IrqChip::IoApic],
        Platform::Arm64Gic => &[IrqChip::Gic],
        Platform::Riscv64Aia => &[IrqChip::Aplic],
        _ => &[],
    }
}

/// All lines of a table, folded into runs.
pub(crate) fn runs(report: &Report) -> Vec<Run<'_>> {
    let targets = targets(&report.dump);
    let mut runs: Vec<Run<'_>> = Vec::new();
    for (gsi, travel) in &report.travels {
        let targets = targets.get(gsi).map_or(&[][..], Vec::as_slice);
        let line = Line::new(*gsi, report, targets, travel);
        match runs.last_mut() {
            Some(run) if run.last.is_followed_by(&line) => run.last = line,
            _ => runs.push(Run {
                first: line.clone(),
                last: line,
            }),
        }
    }
    runs
}

fn targets(dump: &Dump) -> BTreeMap<u32, Vec<DumpTarget>> {
    let mut targets = BTreeMap::<_, Vec<_>>::new();
    for entry in dump.entries() {
        targets.entry(entry.gsi).or_default().push(entry.target);
    }
    targets
}

impl<'a> Line<'a> {
    fn new(gsi: u32, report: &Report, targets: &[DumpTarget], travel: &'a Travel) -> Self {
        let pin_of = |wanted: &IrqChip| {
            let mut pins = targets.iter().filter_map(|target| match *target {
                DumpTarget::Entry(RouteTarget::Pin { chip, pin }) if chip == wanted.number() => {
                    Some(pin)
                }
                _ => None,
            });
            pins.next()
        };
        let mut singles = targets.iter();
        let single =
            singles.find(|target| !matches!(target, DumpTarget::Entry(RouteTarget::Pin { .. })));
        let is_untold = matches!(single, Some(DumpTarget::Untold(_)));
        let chips = chips(report.dump.platform()).iter();
        Self {
            gsi,
            pins: chips.map(pin_of).collect(),
            single: single.copied(),
            travel,
            is_odd: report.has_odd_hints(travel, is_untold),
        }
    }

    fn is_followed_by(&self, next: &Self) -> bool {
        let pins = self.pins.iter().zip(&next.pins);
        self.gsi.checked_add(1) == Some(next.gsi)
            && self.travel.hints == next.travel.hints
            && self.travel.how == next.travel.how
            && (self.travel == next.travel || !next.travel.is_lost)
            && pins.into_iter().all(|(one, other)| follows(*one, *other))
            && match (self.single, next.single) {
                (
                    Some(DumpTarget::Entry(RouteTarget::Msi(one))),
                    Some(DumpTarget::Entry(RouteTarget::Msi(other))),
                ) => {
                    let data = one.data.checked_add(1);
                    data.is_some_and(|data| MsiMessage { data, ..one } == other)
                }
                (one, other) => one == other,
            }
    }
}

fn follows(one: Option<u32>, other: Option<u32>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.checked_add(1) == Some(other),
        (one, other) => one == other,
    }
}

impl Run<'_> {
    /// `3-7`.
    pub(crate) fn gsis(&self) -> String {
        range(self.first.gsi, self.last.gsi)
    }

    /// The pins of each chip, `0-7`.
    pub(crate) fn pins(&self) -> impl Iterator<Item = Option<String>> + '_ {
        let pins = self.first.pins.iter().zip(&self.last.pins);
        pins.map(|(first, last)| Some(range((*first)?, (*last)?)))
    }

    /// Whether it is routed to something other than pins.
    pub(crate) fn is_single(&self) -> bool {
        self.first.single.is_some()
    }

    /// What it is routed to, for people; of several GSIs the first and the last.
    pub(crate) fn destination(&self) -> String {
        let (first, last) = (&self.first.travel.what, &self.last.travel.what);
        if first == last {
            first.clone()
        } else {
            format!("{first} ... {last}")
        }
    }
}

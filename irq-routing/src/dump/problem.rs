// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Problem`]: what is wrong or unusual in a dumped table.

use std::collections::{BTreeMap, BTreeSet};

use super::{Dump, matrix};
use crate::route::kernel_entries::{EntryKind, Refusal, refusals};
use crate::{IrqChip, Pin, Platform};

/// Something wrong or unusual in a dumped table; see [`Dump::problems`](crate::Dump::problems).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// KVM refuses a table with such an entry.
    #[error("GSI {gsi} is out of range, and KVM refuses the table: the VM has {limit}")]
    #[non_exhaustive]
    OutOfRange {
        /// The GSI.
        gsi: u32,
        /// The VM's number of GSIs.
        limit: u32,
    },

    /// KVM refuses a table with such an entry.
    #[error(
        "GSI {gsi} is routed to chip {chip}, and KVM refuses the table: {platform} has no such chip"
    )]
    #[non_exhaustive]
    NoSuchChip {
        /// The GSI.
        gsi: u32,
        /// The number of the chip.
        chip: u32,
        /// The platform.
        platform: Platform,
    },

    /// KVM refuses a table with such an entry.
    #[error(
        "GSI {gsi} is routed to {chip} pin {pin}, and KVM refuses the table: the chip has {}",
        chip.pins()
    )]
    #[non_exhaustive]
    NoSuchPin {
        /// The GSI.
        gsi: u32,
        /// The chip.
        chip: IrqChip,
        /// The number of the pin.
        pin: u32,
    },

    /// KVM refuses a table with such an entry.
    #[error(
        "GSI {gsi} is routed to {}, and KVM refuses the table: {platform} has none",
        kind.name()
    )]
    #[non_exhaustive]
    NoSuchKind {
        /// The GSI.
        gsi: u32,
        /// What it is routed to.
        kind: EntryKind,
        /// The platform.
        platform: Platform,
    },

    /// KVM refuses a table in which a GSI is routed to two pins of one chip.
    #[error("GSI {gsi} is routed twice to the {chip}, and KVM refuses the table")]
    #[non_exhaustive]
    TwoPinsOfOneChip {
        /// The GSI.
        gsi: u32,
        /// The chip.
        chip: IrqChip,
    },

    /// KVM refuses a table in which a GSI has an entry that is not a pin, and any other entry.
    #[error(
        "GSI {gsi} is routed to {} and to something else, and KVM refuses the table",
        kind.name()
    )]
    #[non_exhaustive]
    NotAlone {
        /// The GSI.
        gsi: u32,
        /// The kind of entry that must be the only one of its GSI.
        kind: EntryKind,
    },

    /// KVM refuses a table with so many entries.
    #[error("there are {entries} entries, and KVM refuses the table: it takes {limit}")]
    #[non_exhaustive]
    TooManyEntries {
        /// How many there are.
        entries: usize,
        /// How many KVM takes.
        limit: u32,
    },

    /// KVM takes it, but a resampling irqfd on this GSI gets no EOI.
    #[error(
        "GSI {gsi} and GSI {eois} are both routed to {pin}: only GSI {eois}, the last in the \
         table, gets its EOIs"
    )]
    #[non_exhaustive]
    SharedPin {
        /// The pin.
        pin: Pin,
        /// The GSI that gets no EOIs from it.
        gsi: u32,
        /// The GSI that gets them.
        eois: u32,
    },

    /// The reverse map does not match the entries: they are of different tables, or one was edited.
    #[error(
        "the kernel has GSI {} at {} where the entries say GSI {}",
        or_none(*.kernel),
        place(*.row, *.column, *.pin),
        or_none(*.entries)
    )]
    #[non_exhaustive]
    Contradiction {
        /// The row: KVM's number of the chip.
        row: usize,
        /// The column.
        column: usize,
        /// The pin of that place, if there is one.
        pin: Option<Pin>,
        /// What the reverse map has there.
        kernel: Option<u32>,
        /// What the entries would put there.
        entries: Option<u32>,
    },
}

impl Problem {
    /// Returns whether KVM refuses the table because of it. Such a table was never in the kernel.
    #[must_use]
    pub const fn is_refused(&self) -> bool {
        !matches!(self, Self::SharedPin { .. } | Self::Contradiction { .. })
    }

    /// Returns the GSIs that it is about.
    pub fn gsis(&self) -> impl Iterator<Item = u32> + use<> {
        let (one, other) = match *self {
            Self::OutOfRange { gsi, .. }
            | Self::NoSuchChip { gsi, .. }
            | Self::NoSuchPin { gsi, .. }
            | Self::NoSuchKind { gsi, .. }
            | Self::TwoPinsOfOneChip { gsi, .. }
            | Self::NotAlone { gsi, .. } => (Some(gsi), None),
            Self::TooManyEntries { .. } => (None, None),
            Self::SharedPin { gsi, eois, .. } => (Some(gsi), Some(eois)),
            Self::Contradiction {
                kernel, entries, ..
            } => (kernel, entries),
        };
        one.into_iter().chain(other)
    }
}

/// A place in the reverse map, for people.
fn place(row: usize, column: usize, pin: Option<Pin>) -> String {
    match pin {
        Some(pin) => pin.to_string(),
        None => format!("chip {row}, column {column}, which is not a pin"),
    }
}

/// The kernel's number for none is -1.
fn or_none(gsi: Option<u32>) -> i64 {
    gsi.map_or(-1, i64::from)
}

/// All problems: those of single GSIs first, in their order.
pub(super) fn all(dump: &Dump) -> Vec<Problem> {
    let (platform, limit) = (dump.platform, dump.limit);
    let mut problems = Vec::new();
    for (gsi, targets) in dump.groups() {
        if gsi >= limit {
            problems.push(Problem::OutOfRange { gsi, limit });
        }
        let refusals = refusals(platform, &targets).into_iter();
        problems.extend(refusals.map(|refusal| of_refusal(platform, gsi, refusal)));
    }
    let entries = dump.entries.len();
    if u32::try_from(entries).map_or(true, |entries| entries > limit) {
        problems.push(Problem::TooManyEntries { entries, limit });
    }
    shared_pins(dump, &mut problems);
    contradictions(dump, &mut problems);
    problems
}

fn of_refusal(platform: Platform, gsi: u32, refusal: Refusal) -> Problem {
    match refusal {
        Refusal::NoSuchChip(chip) => Problem::NoSuchChip {
            gsi,
            chip,
            platform,
        },
        Refusal::NoSuchPin(chip, pin) => Problem::NoSuchPin { gsi, chip, pin },
        Refusal::NoSuchKind(kind) => Problem::NoSuchKind {
            gsi,
            kind,
            platform,
        },
        Refusal::TwoPinsOfOneChip(chip) => Problem::TwoPinsOfOneChip { gsi, chip },
        Refusal::NotAlone(kind) => Problem::NotAlone { gsi, kind },
    }
}

fn shared_pins(dump: &Dump, problems: &mut Vec<Problem>) {
    let mut pins = BTreeMap::<Pin, Vec<u32>>::new();
    for entry in &dump.entries {
        if let Some(pin) = entry.target.pin(dump.platform) {
            pins.entry(pin).or_default().push(entry.gsi);
        }
    }
    for (pin, gsis) in pins {
        let last = gsis.last().copied();
        let others: BTreeSet<_> = gsis.into_iter().filter(|gsi| Some(*gsi) != last).collect();
        let shared = others.into_iter().zip(last.into_iter().cycle());
        problems.extend(shared.map(|(gsi, eois)| Problem::SharedPin { pin, gsi, eois }));
    }
}

fn contradictions(dump: &Dump, problems: &mut Vec<Problem>) {
    let Some(kernel) = &dump.matrix else { return };
    let entries = dump.reverse_map();
    let (left, right) = (kernel.shape(), entries.shape());
    for (row, columns) in longest(left, right).enumerate() {
        for column in 0..columns {
            let (kernel, entries) = (kernel.cell(row, column), entries.cell(row, column));
            if kernel != entries {
                let pin = matrix::pin_at(dump.platform, row, column);
                problems.push(Problem::Contradiction {
                    row,
                    column,
                    pin,
                    kernel,
                    entries,
                });
            }
        }
    }
}

/// The greater of each pair; what one side lacks counts as 0.
fn longest(
    left: impl Iterator<Item = usize>,
    right: impl Iterator<Item = usize>,
) -> impl Iterator<Item = usize> {
    let (mut left, mut right) = (left.fuse(), right.fuse());
    std::iter::from_fn(move || match (left.next(), right.next()) {
        (None, None) => None,
        (left, right) => Some(left.unwrap_or(0).max(right.unwrap_or(0))),
    })
}

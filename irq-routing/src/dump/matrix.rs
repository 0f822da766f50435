// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`ChipMatrix`]: the kernel's map from pins back to GSIs.

use super::entry::DumpEntry;
use crate::route::kernel_entries::chip_of;
use crate::{IrqChip, Pin, Platform};

/// The kernel's reverse map: a row for each chip, with the GSI that gets the EOIs of each pin.
///
/// Of two GSIs on one pin it has the last in the table; the other gets no EOIs. The pins of the
/// second PIC start at column 8: KVM counts those of both PICs together.
///
/// An x86 row is printed with KVM's 24 columns. On other platforms a row has a thousand, and ends
/// behind the last pin that is routed.
///
/// Kernel source: `setup_routing_entry` in `virt/kvm/irqchip.c`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct ChipMatrix {
    /// By chip and column; trailing empty rows and columns are removed.
    rows: Vec<Vec<Option<u32>>>,
}

impl ChipMatrix {
    /// The map that the kernel computes from a table, without entries that it refuses.
    pub(super) fn of(platform: Platform, entries: &[DumpEntry]) -> Self {
        let mut rows = Vec::new();
        for entry in entries {
            let Some(pin) = entry.target.pin(platform) else {
                continue;
            };
            let row: Option<&mut Vec<_>> = at(&mut rows, index(pin.chip().number()));
            if let Some(cell) = row.and_then(|row| at(row, column(pin))) {
                *cell = Some(entry.gsi);
            }
        }
        Self { rows }
    }

    /// Rows as they were printed.
    pub(super) fn from_rows(mut rows: Vec<Vec<Option<u32>>>) -> Self {
        for row in &mut rows {
            let used = row.iter().rposition(Option::is_some);
            row.truncate(used.map_or(0, |last| last + 1));
        }
        let used = rows.iter().rposition(|row| !row.is_empty());
        rows.truncate(used.map_or(0, |last| last + 1));
        Self { rows }
    }

    pub(super) fn cell(&self, row: usize, column: usize) -> Option<u32> {
        self.rows.get(row)?.get(column).copied().flatten()
    }

    /// How many rows, and how many columns there are in each of them.
    pub(super) fn shape(&self) -> impl Iterator<Item = usize> + '_ {
        self.rows.iter().map(Vec::len)
    }
}

/// The least number of rows, and of columns in each, that is printed.
pub(super) const fn least(platform: Platform) -> (usize, usize) {
    match platform {
        Platform::X86 | Platform::X86Split => (3, 24),
        Platform::Arm64Gic | Platform::Riscv64Aia => (1, 0),
    }
}

/// The pin of a cell.
pub(super) fn pin_at(platform: Platform, row: usize, column: usize) -> Option<Pin> {
    let chip = chip_of(platform, u32::try_from(row).ok()?)?;
    let number = column.checked_sub(first_column(chip))?;
    Pin::new(chip, u32::try_from(number).ok()?).ok()
}

fn column(pin: Pin) -> usize {
    index(pin.number()) + first_column(pin.chip())
}

const fn first_column(chip: IrqChip) -> usize {
    match chip {
        IrqChip::PicSlave => 8,
        _ => 0,
    }
}

/// A number of a chip or a pin as an index.
const fn index(number: u32) -> usize {
    number as usize
}

/// The element at an index, added if the list is shorter.
fn at<T: Clone + Default>(list: &mut Vec<T>, index: usize) -> Option<&mut T> {
    if index >= list.len() {
        list.resize(index + 1, T::default());
    }
    list.get_mut(index)
}

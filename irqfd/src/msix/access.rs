// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the guest reads and writes of the table's region.

use super::Table;
use super::entry::{ENTRY, Entry};
use crate::Dead;
use crate::vector::Opened;

/// Part of an access that falls into one entry: which one, and how many of its bytes come before.
struct Piece {
    index: usize,
    skipped: usize,
}

impl Table {
    /// Reads the region of the table for the guest: 16 bytes for each vector, little-endian.
    ///
    /// `offset` is from the start of the table. Takes the table's lock.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0xff);
        let Some((first, second, split)) = pieces(offset, data.len()) else {
            return;
        };
        let state = self.inner.state.lock();
        let (low, high) = data.split_at_mut(split);
        for (piece, data) in [(first, low), (second, high)] {
            if let Some(entry) = state.entries.get(piece.index) {
                let bytes = entry.bytes();
                for (place, byte) in data.iter_mut().zip(bytes.iter().skip(piece.skipped)) {
                    *place = *byte;
                }
            }
        }
    }

    /// Writes the region of the table for the guest. Returns vectors that it opened and are dead.
    ///
    /// A write that masks waits for one KVM_IRQFD if the vector is armed. A write that unmasks
    /// commits and arms, unless the table has an [`ArmQueue`](crate::ArmQueue) or the vector is
    /// internal.
    #[must_use = "vectors that cannot be armed deliver nothing"]
    pub fn write(&self, offset: u64, data: &[u8]) -> Vec<Dead> {
        let Some((first, second, split)) = pieces(offset, data.len()) else {
            return Vec::new();
        };
        let mut opened = Opened::of(&self.inner.vectors);
        let mut state = self.inner.state.lock();
        let open = self.inner.is_open();
        let (low, high) = data.split_at(split);
        for (piece, data) in [(first, low), (second, high)] {
            let vector = self.inner.vectors.get(piece.index);
            let entry = state.entries.get_mut(piece.index);
            let (Some(vector), Some(entry)) = (vector, entry) else {
                continue;
            };
            let was = *entry;
            let mut bytes = was.bytes();
            for (place, byte) in bytes.iter_mut().skip(piece.skipped).zip(data) {
                *place = *byte;
            }
            *entry = Entry::from_bytes(bytes);
            let (was_open, is_open) = (open && !was.masked, open && !entry.masked);
            let entry = *entry;
            let message = state.message(entry);
            self.inner
                .open_or_close(vector, message, was_open, is_open, &mut opened);
        }
        drop(state);
        opened.run()
    }
}

/// The one or two entries that an access touches, and how many of its bytes fall into the first.
/// `None` if its length is none that a vCPU has.
fn pieces(offset: u64, len: usize) -> Option<(Piece, Piece, usize)> {
    if !matches!(len, 1 | 2 | 4 | 8) {
        return None;
    }
    let skipped = usize::try_from(offset % ENTRY as u64).ok()?;
    let index = usize::try_from(offset / ENTRY as u64).ok()?;
    let split = len.min(ENTRY - skipped);
    let second = Piece {
        index: index.checked_add(1)?,
        skipped: 0,
    };
    Some((Piece { index, skipped }, second, split))
}

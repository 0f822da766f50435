// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The pending bit array.

use super::Table;

/// How many bits a word of the array has (PCI Local Bus 3.0, 6.8.2.10).
const WORD: u64 = 64;

impl Table {
    /// How many bytes the pending bit array has: whole words of eight.
    fn pba_len(&self) -> u64 {
        (self.inner.vectors.len() as u64).div_ceil(WORD) * (WORD / 8)
    }

    /// Reads the pending bits for the guest, as [`read`](Self::read) reads entries.
    ///
    /// The array has eight bytes for each 64 vectors or part of them (PCI Local Bus 3.0, 6.8.2.10).
    /// A bit is set while its vector or function is masked and an interrupt is pending that is sent
    /// on unmask. Bits beyond the last vector are zero. Ignore the guest's writes to this region.
    ///
    /// For each vector that is exported and masked this reads its notifier (one system call),
    /// unless the vector has kept a trigger; see [`is_pending`](crate::VectorHandle::is_pending).
    pub fn pba_read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0xff);
        if !matches!(data.len(), 1 | 2 | 4 | 8) {
            return;
        }
        let state = self.inner.state.lock();
        let pending = |number: usize| {
            let (entry, vector) = (state.entries.get(number)?, self.inner.vectors.get(number)?);
            let masked = entry.masked || !self.inner.is_open();
            (masked && vector.is_pending()).then_some(())
        };
        for (ahead, byte) in (0..).zip(data) {
            let position = offset.checked_add(ahead);
            let Some(position) = position.filter(|position| *position < self.pba_len()) else {
                continue;
            };
            let bit = |bit: usize| {
                // Less than the table's size by far.
                let first = usize::try_from(position * 8).unwrap_or(usize::MAX);
                let pending = pending(first.saturating_add(bit)).is_some();
                u8::from(pending) << bit
            };
            *byte = (0..8).map(bit).sum();
        }
    }
}

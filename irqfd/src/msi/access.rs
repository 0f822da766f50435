// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the guest reads and writes of the capability.

use super::Capability;
use super::capability::State;
use super::registers::{Written, message_of};
use crate::Dead;
use crate::vector::Opened;

impl Capability {
    /// Returns how many bytes the capability has in the configuration space.
    ///
    /// With mask bits 20 or 24, by the width of addresses. Without them 10 or 14, and two more with
    /// Extended Message Data.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.inner.shape.len()
    }

    /// Reads the capability for the guest, at an offset from its start.
    ///
    /// What is beyond the end reads as zero. It may read the notifiers of exported vectors, see
    /// [`is_pending`](crate::VectorHandle::is_pending).
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        let state = self.inner.state.lock();
        let bytes = state
            .registers
            .bytes(self.inner.shape, self.pending(&state));
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = bytes.iter().take(self.len()).skip(skipped);
        for (place, byte) in data.iter_mut().zip(bytes) {
            *place = *byte;
        }
    }

    /// Writes the capability for the guest, at an offset from its start.
    ///
    /// What is beyond the end or read-only is ignored. Returns the vectors that the access opened
    /// or changed and that are dead. Blocks as [`msix::Table::write`](crate::msix::Table::write)
    /// does.
    #[must_use = "vectors that cannot be armed deliver nothing"]
    pub fn write(&self, offset: u64, data: &[u8]) -> Vec<Dead> {
        if data.is_empty() {
            // Inside the data register it would end the writing of a message.
            return Vec::new();
        }
        let shape = self.inner.shape;
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        let mut opened = Opened::of(&self.inner.vectors);
        let mut state = self.inner.state.lock();
        let mut bytes = state.registers.bytes(shape, 0);
        let writable = bytes.iter_mut().take(shape.len()).skip(skipped);
        for (place, byte) in writable.zip(data) {
            *place = *byte;
        }
        let registers = Written::from_bytes(shape, &bytes);
        let end = skipped.saturating_add(data.len());
        let completing = registers.data_bytes(shape);
        let message_complete = skipped < completing.end && end > completing.start;
        self.apply_registers(&mut state, registers, message_complete, &mut opened);
        drop(state);
        opened.run()
    }

    /// Changes the vectors to what the new registers are.
    fn apply_registers<'a>(
        &'a self,
        state: &mut State,
        registers: Written,
        message_complete: bool,
        opened: &mut Opened<'a>,
    ) {
        let (was, is) = (state.registers.open_bits(), registers.open_bits());
        let regranted = registers.granted != state.registers.granted;
        let extended = registers.extended_enabled != state.registers.extended_enabled;
        self.inner.put_registers(state, registers);
        // What opens a vector, or changes how messages are made, ends the writing of a message.
        if message_complete || regranted || extended || is & !was != 0 {
            state.sends = registers.message(state.devid);
        }
        for (number, vector) in (0..).zip(&self.inner.vectors) {
            let message = message_of(state.sends, registers.granted, number);
            match (was >> number & 1, is >> number & 1) {
                (1, 0) => vector.inner.mask(),
                (0, 1) => opened.unmask(vector, message),
                (1, 1) => opened.retarget(vector, message),
                _ => {}
            }
            if regranted && registers.granted_bits() >> number & 1 == 0 {
                vector.inner.clear_pending();
            }
        }
    }

    /// The pending bits: of vectors that are granted and not open.
    pub(super) fn pending(&self, state: &State) -> u32 {
        if !self.inner.shape.maskable {
            return 0;
        }
        let may = state.registers.pending_bits();
        let numbered = (0..).zip(&self.inner.vectors);
        let pending =
            numbered.filter(|(number, vector)| may >> number & 1 != 0 && vector.is_pending());
        pending.fold(0, |bits, (number, _)| bits | 1 << number)
    }
}

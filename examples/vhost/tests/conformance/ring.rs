// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Ring`]: a driver's side of a split virtqueue, as far as these tests need it. It writes
//! malformed rings too.
//!
//! VIRTIO 1.3, 2.7.

use std::sync::atomic::Ordering::SeqCst;

use crate::memory::Memory;

/// How many descriptors a ring has.
pub(crate) const SIZE: u16 = 16;

/// The rings of one queue: descriptors, available and used, each in a page of its own.
pub(crate) struct Ring<'a> {
    memory: &'a Memory,
    base: usize,
}

impl<'a> Ring<'a> {
    pub(crate) fn new(memory: &'a Memory, queue: u32) -> Self {
        Self {
            memory,
            base: queue as usize * 0x1_0000,
        }
    }

    pub(crate) fn descriptors(&self) -> usize {
        self.base
    }

    pub(crate) fn available(&self) -> usize {
        self.base + 0x1000
    }

    pub(crate) fn used(&self) -> usize {
        self.base + 0x2000
    }

    /// Makes one buffer available for the device to read.
    pub(crate) fn offer(&self, address: u64, len: u32) {
        let index = self.memory.u16(self.available() + 2);
        let slot = u16::from_le(index.load(SeqCst)) % SIZE;
        self.describe(slot, address, len);
        let entry = self.available() + 4 + 2 * usize::from(slot);
        self.memory.u16(entry).store(slot.to_le(), SeqCst);
        self.jump(1);
    }

    /// Writes a descriptor.
    pub(crate) fn describe(&self, slot: u16, address: u64, len: u32) {
        let descriptor = self.descriptors() + 16 * usize::from(slot);
        self.memory.u64(descriptor).store(address.to_le(), SeqCst);
        self.memory.u32(descriptor + 8).store(len.to_le(), SeqCst);
        self.memory.u32(descriptor + 12).store(0, SeqCst);
    }

    /// Adds `count` to the available index.
    pub(crate) fn jump(&self, count: u16) {
        let index = self.memory.u16(self.available() + 2);
        let next = u16::from_le(index.load(SeqCst)).wrapping_add(count);
        index.store(next.to_le(), SeqCst);
    }

    /// How many buffers the device has used.
    pub(crate) fn used_index(&self) -> u16 {
        u16::from_le(self.memory.u16(self.used() + 2).load(SeqCst))
    }

    /// Whether the device suppresses kicks: VIRTQ_USED_F_NO_NOTIFY.
    pub(crate) fn wants_no_kick(&self) -> bool {
        u16::from_le(self.memory.u16(self.used()).load(SeqCst)) & 1 != 0
    }
}

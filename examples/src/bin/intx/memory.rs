// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Memory`]: what devices and the guest's handler say to each other without leaving the guest.

/// The memory that the guest's handler reads and writes.
pub(crate) trait Memory: Sync {
    /// What a device has to say: its handler is to acknowledge this number.
    fn publish(&self, device: usize, number: u64) -> Result<(), String>;
    /// The last number that a device has published.
    fn published(&self, device: usize) -> Result<u64, String>;
    /// The number of a device that its handler has seen last.
    fn acknowledged(&self, device: usize) -> Result<u64, String>;
    /// How many interrupts the guest has taken.
    fn interrupts(&self) -> Result<u64, String>;
    /// How many of them it has ended.
    fn eois(&self) -> Result<u64, String>;
    /// How many times it has masked the pin, and unmasked it.
    fn masks(&self) -> Result<u64, String>;
    /// How many of these times it moved the pin to its other vector.
    fn moves(&self) -> Result<u64, String>;
    /// Interrupts that a PIC took back when the guest asked which.
    fn spurious(&self) -> Result<u64, String>;
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Memory`]: how devices and the guest's handler exchange numbers without an exit.

/// The memory that the guest's handler reads and writes.
pub(crate) trait Memory: Sync {
    /// Publishes the number that the guest's handler is to acknowledge.
    fn publish(&self, device: usize, number: u64) -> Result<(), String>;
    /// The last number that a device has published.
    fn published(&self, device: usize) -> Result<u64, String>;
    /// The last number of a device that the guest's handler has seen.
    fn acknowledged(&self, device: usize) -> Result<u64, String>;
    /// How many interrupts the guest has taken.
    fn interrupts(&self) -> Result<u64, String>;
    /// How many EOIs the guest has sent.
    fn eois(&self) -> Result<u64, String>;
    /// How many times it has masked the pin, and unmasked it.
    fn masks(&self) -> Result<u64, String>;
    /// How many of these times it moved the pin to its other vector.
    fn moves(&self) -> Result<u64, String>;
    /// Spurious interrupts: a PIC had withdrawn the interrupt when the guest took it.
    fn spurious(&self) -> Result<u64, String>;
}

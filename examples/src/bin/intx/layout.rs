// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What guest, devices and controllers agree on.

/// The pin of all three devices, and its GSI: the third of the second PIC.
pub(crate) const PIN: u8 = 10;

/// The vector of the IOAPIC's pin.
pub(crate) const IOAPIC_VECTOR: u8 = 0x50;
/// The vector of the PICs' first pin.
pub(crate) const PIC_BASE: u8 = 0x20;
/// The vector of the pin in the PICs, and those of interrupts that were gone when they were asked for.
pub(crate) const PIC_VECTOR: u8 = PIC_BASE + PIN;
pub(crate) const SPURIOUS_MASTER: u8 = PIC_BASE + 7;
pub(crate) const SPURIOUS_SLAVE: u8 = PIC_BASE + 15;

/// Bits of an IOAPIC's redirection entry.
pub(crate) const LEVEL: u64 = 1 << 15;
pub(crate) const MASKED: u64 = 1 << 16;

/// How many devices share the pin.
pub(crate) const DEVICES: usize = 3;
/// The VMM's own, told of nothing.
pub(crate) const PLAIN: usize = 0;
/// Another's, who has two eventfds and the guest's memory.
pub(crate) const EXPORTED: usize = 1;
/// The VMM's own, told of EOIs.
pub(crate) const TOLD: usize = 2;

/// Where a device of the VMM's own has its only register, from the start of the devices' region: the
/// guest writes there the number that it acknowledges.
pub(crate) const fn acknowledge(device: usize) -> u64 {
    device as u64 * 8
}
/// The end of that region.
pub(crate) const END: u64 = acknowledge(DEVICES);

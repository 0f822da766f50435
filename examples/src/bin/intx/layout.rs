// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The constants that guest, devices and controllers share.

/// The pin of all three devices, and its GSI: the third of the second PIC.
pub(crate) const PIN: u8 = 10;

/// The two vectors between which the guest moves the IOAPIC's pin, and their difference.
pub(crate) const IOAPIC_VECTORS: [u8; 2] = [0x50, 0x60];
pub(crate) const OTHER_VECTOR: u8 = IOAPIC_VECTORS[0] ^ IOAPIC_VECTORS[1];
/// The vector of the PICs' first pin.
pub(crate) const PIC_BASE: u8 = 0x20;
/// The vector of the pin in the PICs, and the PICs' spurious vectors.
pub(crate) const PIC_VECTOR: u8 = PIC_BASE + PIN;
pub(crate) const SPURIOUS_MASTER: u8 = PIC_BASE + 7;
pub(crate) const SPURIOUS_SLAVE: u8 = PIC_BASE + 15;

/// Bits of an IOAPIC's redirection entry.
pub(crate) const LEVEL: u64 = 1 << 15;
pub(crate) const MASKED: u64 = 1 << 16;
/// The interrupt of a level-triggered pin was sent, and its EOI has not come.
pub(crate) const REMOTE_IRR: u64 = 1 << 14;

/// Once in so many interrupts the guest masks its pin, sends the EOI, and unmasks the pin. It moves
/// an IOAPIC's pin to the other vector meanwhile, as Linux does to change its affinity, unless an
/// interrupt was sent already.
pub(crate) const MASKS: u32 = 128;
/// The interrupt of these in which it does so. With an IOAPIC in user space also the interrupt in
/// which it moves the pin before it sends the EOI. (An IOAPIC in the kernel, and a real one, would
/// wait for ever for the EOI of the pin's new vector.)
pub(crate) const MASKS_AND_ENDS: u32 = 0;
pub(crate) const MOVES_IN_SERVICE: u32 = MASKS / 2;

/// How many devices share the pin.
pub(crate) const DEVICES: usize = 3;
/// The VMM's own device without a resample notifier.
pub(crate) const PLAIN: usize = 0;
/// The device outside the VMM, which has two eventfds and the guest's memory.
pub(crate) const EXPORTED: usize = 1;
/// The VMM's own device with a resample notifier.
pub(crate) const TOLD: usize = 2;

/// Where the devices' registers are.
pub(crate) const REGION: u64 = 0xd000_0000;
/// The only register of a device of the VMM: the guest writes the number that it acknowledges.
pub(crate) const fn acknowledge(device: usize) -> u64 {
    REGION + device as u64 * 8
}

/// The registers of the IOAPIC, and their end.
pub(crate) const IOAPIC: u64 = 0xfec0_0000;
pub(crate) const IOAPIC_END: u64 = IOAPIC + 0x1000;

/// The command ports of the PICs, and the byte that is an EOI there.
pub(crate) const PIC1: u16 = 0x20;
pub(crate) const PIC2: u16 = 0xa0;
pub(crate) const PIC_EOI: u8 = 0x20;

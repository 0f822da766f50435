// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Registers`]: the capability's registers, and what they say of each vector.

use irq_routing::MsiMessage;

/// How many vectors MSI has at most.
pub(super) const MAX: usize = 32;
/// How many bytes the longest form of the capability has (PCI Local Bus 3.0, 6.8.1).
pub(super) const LONGEST: usize = 0x18;
/// The lowest two bits of an address are read-only (6.8.1.4).
pub(super) const UNALIGNED: u64 = 0x3;

/// The capability's number.
const ID: u8 = 0x05;

/// Message Control (6.8.1.3).
const CONTROL: usize = 0x2;
const ENABLE: u16 = 1;
const CAPABLE_SHIFT: u32 = 1;
const GRANTED_SHIFT: u32 = 4;
const COUNT: u16 = 0x7;
const WIDE: u16 = 1 << 7;
const MASKABLE: u16 = 1 << 8;

const ADDRESS: usize = 0x4;

/// What the device is built with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// The logarithm of the number of vectors.
    pub(super) capable: u16,
    /// Whether addresses have 64 bits.
    pub(super) wide: bool,
    /// Whether there are mask and pending bits.
    pub(super) maskable: bool,
    /// Where the next capability is.
    pub(super) next: u8,
}

/// What the guest has written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Registers {
    pub(super) enabled: bool,
    /// The logarithm of how many vectors were granted; no more than the device is capable of.
    pub(super) granted: u16,
    pub(super) address: u64,
    pub(super) data: u16,
    pub(super) masked: u32,
}

impl Shape {
    pub(super) fn vectors(self) -> u32 {
        1 << self.capable
    }

    /// The bits of as many vectors.
    pub(super) fn all(self) -> u32 {
        u32::MAX >> (MAX as u32 - self.vectors())
    }

    pub(super) fn len(self) -> usize {
        match (self.wide, self.maskable) {
            (false, false) => 0xa,
            (true, false) => 0xe,
            (false, true) => 0x14,
            (true, true) => LONGEST,
        }
    }

    pub(super) fn data(self) -> usize {
        if self.wide { 0xc } else { 0x8 }
    }

    /// Mask bits, and behind them pending bits.
    pub(super) fn mask(self) -> usize {
        self.data() + 4
    }
}

impl Registers {
    /// All registers, as the guest reads them.
    pub(super) fn bytes(self, shape: Shape, pending: u32) -> [u8; LONGEST] {
        let bit = |set, bit| if set { bit } else { 0 };
        let control = bit(self.enabled, ENABLE)
            | shape.capable << CAPABLE_SHIFT
            | self.granted << GRANTED_SHIFT
            | bit(shape.wide, WIDE)
            | bit(shape.maskable, MASKABLE);
        let mut bytes = [0; LONGEST];
        put(&mut bytes, 0, &[ID, shape.next]);
        put(&mut bytes, CONTROL, &control.to_le_bytes());
        // The upper half is overwritten where there is none.
        put(&mut bytes, ADDRESS, &self.address.to_le_bytes());
        put(&mut bytes, shape.data(), &self.data.to_le_bytes());
        if shape.maskable {
            put(&mut bytes, shape.mask(), &self.masked.to_le_bytes());
            put(&mut bytes, shape.mask() + 4, &pending.to_le_bytes());
        }
        bytes
    }

    /// What the guest has written, if it has written all this. Read-only bits are left out.
    pub(super) fn from_bytes(shape: Shape, bytes: &[u8; LONGEST]) -> Self {
        let control = u16::from_le_bytes(get(bytes, CONTROL));
        let address = if shape.wide {
            u64::from_le_bytes(get(bytes, ADDRESS))
        } else {
            u64::from(u32::from_le_bytes(get(bytes, ADDRESS)))
        };
        let masked = if shape.maskable {
            u32::from_le_bytes(get(bytes, shape.mask())) & shape.all()
        } else {
            0
        };
        Self {
            enabled: control & ENABLE != 0,
            granted: (control >> GRANTED_SHIFT & COUNT).min(shape.capable),
            address: address & !UNALIGNED,
            data: u16::from_le_bytes(get(bytes, shape.data())),
            masked,
        }
    }

    /// The bits of the vectors that the guest has granted to the device.
    pub(super) fn granted_bits(self) -> u32 {
        u32::MAX >> (MAX as u32 - (1 << self.granted))
    }

    /// The bits of the vectors that are open.
    pub(super) fn open_bits(self) -> u32 {
        if self.enabled {
            self.granted_bits() & !self.masked
        } else {
            0
        }
    }

    pub(super) fn message(self, devid: Option<u32>) -> MsiMessage {
        MsiMessage {
            address: self.address,
            data: u32::from(self.data),
            devid,
        }
    }
}

/// The message of one of so many vectors, whose number replaces the lowest bits of the data
/// (6.8.1.6).
pub(super) fn message_of(message: MsiMessage, granted: u16, number: u32) -> MsiMessage {
    let low = (1 << granted) - 1;
    MsiMessage {
        data: message.data & !low | number & low,
        ..message
    }
}

fn put(bytes: &mut [u8; LONGEST], at: usize, value: &[u8]) {
    for (place, byte) in bytes.iter_mut().skip(at).zip(value) {
        *place = *byte;
    }
}

fn get<const N: usize>(bytes: &[u8; LONGEST], at: usize) -> [u8; N] {
    let mut value = [0; N];
    for (place, byte) in value.iter_mut().zip(bytes.iter().skip(at)) {
        *place = *byte;
    }
    value
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Written`]: the capability's registers, and what they mean for each vector.
//!
//! Extended Message Data (PCI Express Base 5.0, 7.7.1.2 and 7.7.1.6) is 16 bits directly behind
//! Message Data. With mask bits these two bytes were reserved before, so nothing moves; without
//! mask bits the capability is two bytes longer. Linux has no names for the two bits of Message
//! Control (`include/uapi/linux/pci_regs.h`).

use std::fmt;
use std::ops::Range;

use irq_routing::MsiMessage;

use crate::hex::Hex;

/// How many vectors MSI has at most. Multiple Message Capable is its logarithm at most.
pub(super) const MAX: usize = 32;
/// How many bytes the longest form of the capability has (PCI Local Bus 3.0, 6.8.1).
pub(super) const LONGEST: usize = 0x18;
/// How many bytes the shortest form has.
pub(super) const SHORTEST: usize = 0xa;
/// The lowest two bits of an address are read-only (6.8.1.4).
pub(super) const UNALIGNED: u64 = 0x3;

/// Message Data alone, without the extended half.
pub(super) const LOW: u32 = 0xffff;

/// The capability's number.
pub(super) const ID: u8 = 0x05;

/// Message Control (6.8.1.3).
pub(super) const CONTROL: usize = 0x2;
const ENABLE: u16 = 1;
const CAPABLE_SHIFT: u32 = 1;
const GRANTED_SHIFT: u32 = 4;
const COUNT: u16 = 0x7;
const WIDE: u16 = 1 << 7;
const MASKABLE: u16 = 1 << 8;
const EXTENDED: u16 = 1 << 9;
const EXTENDED_ENABLE: u16 = 1 << 10;

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
    /// Whether there is Extended Message Data.
    pub(super) extended: bool,
    /// Where the next capability is.
    pub(super) next: u8,
}

/// What the guest has written.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) enabled: bool,
    /// The logarithm of how many vectors were granted; no more than the device is capable of.
    pub(super) granted: u16,
    pub(super) address: u64,
    /// Message Data, and in the upper half Extended Message Data.
    pub(super) data: u32,
    /// Whether messages have the upper half of the data.
    pub(super) extended_enabled: bool,
    pub(super) masked: u32,
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Written")
            .field("enabled", &self.enabled)
            .field("granted", &self.granted)
            .field("address", &Hex(self.address))
            .field("data", &Hex(self.data))
            .field("extended_enabled", &self.extended_enabled)
            .field("masked", &Hex(self.masked))
            .finish()
    }
}

impl Shape {
    /// Reads the shape from Message Control. `None` if the number of vectors is a reserved value.
    pub(super) fn from_control(control: u16, next: u8) -> Option<Self> {
        let capable = control >> CAPABLE_SHIFT & COUNT;
        (1_usize << capable <= MAX).then_some(Self {
            capable,
            wide: control & WIDE != 0,
            maskable: control & MASKABLE != 0,
            extended: control & EXTENDED != 0,
            next,
        })
    }

    pub(super) fn vectors(self) -> u32 {
        1 << self.capable
    }

    /// The bits of as many vectors.
    pub(super) fn all(self) -> u32 {
        u32::MAX >> (MAX as u32 - self.vectors())
    }

    pub(super) fn len(self) -> usize {
        match (self.maskable, self.extended) {
            (true, _) => self.mask() + 8,
            (false, true) => self.data() + 4,
            (false, false) => self.data() + 2,
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

impl Written {
    /// All registers, as the guest reads them.
    pub(super) fn bytes(self, shape: Shape, pending: u32) -> [u8; LONGEST] {
        let bit = |set, bit| if set { bit } else { 0 };
        let control = bit(self.enabled, ENABLE)
            | shape.capable << CAPABLE_SHIFT
            | self.granted << GRANTED_SHIFT
            | bit(shape.wide, WIDE)
            | bit(shape.maskable, MASKABLE)
            | bit(shape.extended, EXTENDED)
            | bit(self.extended_enabled, EXTENDED_ENABLE);
        let mut bytes = [0; LONGEST];
        put(&mut bytes, 0, &[ID, shape.next]);
        put(&mut bytes, CONTROL, &control.to_le_bytes());
        // Where the address has no upper half the data overwrites it. The data's upper half is zero
        // where there is none.
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
        let data = u32::from_le_bytes(get(bytes, shape.data()));
        Self {
            enabled: control & ENABLE != 0,
            granted: (control >> GRANTED_SHIFT & COUNT).min(shape.capable),
            address: address & !UNALIGNED,
            data: if shape.extended { data } else { data & LOW },
            extended_enabled: shape.extended && control & EXTENDED_ENABLE != 0,
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

    /// The bits of the vectors that the guest sees as pending, if they are: granted and not open.
    pub(super) fn pending_bits(self) -> u32 {
        self.granted_bits() & !self.open_bits()
    }

    /// Where the data of messages is. To write any byte of it completes a message.
    pub(super) fn data_bytes(self, shape: Shape) -> Range<usize> {
        let len = if self.extended_enabled { 4 } else { 2 };
        shape.data()..shape.data() + len
    }

    pub(super) fn message(self, devid: Option<u32>) -> MsiMessage {
        MsiMessage {
            address: self.address,
            data: self.data & self.data_bits(),
            devid,
        }
    }

    /// The bits of the data that messages can have.
    pub(super) fn data_bits(self) -> u32 {
        if self.extended_enabled { u32::MAX } else { LOW }
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

pub(super) fn get<const N: usize>(bytes: &[u8; LONGEST], at: usize) -> [u8; N] {
    let mut value = [0; N];
    for (place, byte) in value.iter_mut().zip(bytes.iter().skip(at)) {
        *place = *byte;
    }
    value
}

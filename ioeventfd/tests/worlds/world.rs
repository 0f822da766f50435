// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The doorbells and the writes of a world, and which write rings which doorbell.

use std::sync::Arc;

use ioeventfd::{Datamatch, Doorbell, IoAddress, Width};
use notify_core::{Bus, EventNotifier};
use notify_sim::SimVm;

/// A doorbell: its offset in the window, and which writes ring it.
pub(crate) type Place = (u64, Datamatch);

/// A window on one of the buses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) bus: Bus,
    pub(crate) size: u64,
    pub(crate) values: bool,
}

impl Window {
    fn base(self) -> u64 {
        match self.bus {
            Bus::Mmio => 0xd000_0100,
            _ => 0xc100,
        }
    }

    pub(crate) fn address(self, offset: u64) -> IoAddress {
        let number = self.base().wrapping_add(offset);
        match self.bus {
            Bus::Mmio => IoAddress::Mmio(number),
            _ => IoAddress::Pio(number as u16),
        }
    }

    /// The widths of writes to this bus that KVM compares with doorbells.
    fn widths(self) -> &'static [Width] {
        match self.bus {
            Bus::Mmio => &[Width::W1, Width::W2, Width::W4, Width::W8],
            _ => &[Width::W1, Width::W2, Width::W4],
        }
    }

    /// All doorbells whose bytes are in the window.
    pub(crate) fn places(self) -> Vec<Place> {
        let mut places = Vec::new();
        for offset in 0..self.size {
            places.push((offset, Datamatch::AnyWrite));
            for width in self.widths() {
                if offset + *width as u64 > self.size {
                    break;
                }
                places.push((offset, Datamatch::Width(*width)));
                let of_doorbells = &values(*width)[..if self.values { 2 } else { 0 }];
                places.extend(of_doorbells.iter().map(|value| (offset, *value)));
            }
        }
        places
    }

    /// All writes that start in the window, or one byte before or behind it: three values of each
    /// width, and the lengths that no doorbell has.
    pub(crate) fn writes(self) -> Vec<Write> {
        let mut writes = Vec::new();
        for at in 0..self.size + 2 {
            let offset = at.wrapping_sub(1);
            for width in self.widths() {
                writes.extend(values(*width).map(|value| Write {
                    offset,
                    bytes: bytes_of(value),
                }));
            }
            // Pieces of a store that KVM has split. The elements of a port's string are whole.
            let odd: &[usize] = if self.bus == Bus::Mmio {
                &[3, 5, 6, 7]
            } else {
                &[]
            };
            writes.extend(odd.iter().map(|len| Write {
                offset,
                bytes: vec![1; *len],
            }));
        }
        writes
    }

    pub(crate) fn doorbell(
        self,
        key: usize,
        place: Place,
        notifier: &Arc<EventNotifier>,
    ) -> Doorbell {
        let address = self.address(place.0);
        Doorbell::new(key as u64, address, place.1, Arc::clone(notifier))
    }

    /// Whether the kernel takes a write itself.
    pub(crate) fn kernel_takes(self, vm: &SimVm, write: &Write) -> bool {
        let address = self.address(write.offset);
        let written = vm.guest_write(self.bus, address.number(), &write.bytes);
        assert_eq!((written.devices, written.memory), (0, 0));
        assert_eq!(written.signalled as usize + written.exits.len(), 1);
        written.signalled == 1
    }
}

/// Two values for doorbells, and a third. The second is the first with its bytes reversed, and the
/// third has the lower half of the first, so that a wrong byte order or length shows.
fn values(width: Width) -> [Datamatch; 3] {
    match width {
        Width::W1 => [1, 0x80, 2].map(Datamatch::U8),
        Width::W2 => [1, 0x100, 0x8001].map(Datamatch::U16),
        Width::W4 => [1, 0x100_0000, 0x8000_0001].map(Datamatch::U32),
        Width::W8 => [1, 1 << 56, 1 << 63 | 1].map(Datamatch::U64),
    }
}

/// What the guest's processor writes for a doorbell's value.
fn bytes_of(value: Datamatch) -> Vec<u8> {
    match value {
        Datamatch::U8(value) => value.to_ne_bytes().to_vec(),
        Datamatch::U16(value) => value.to_ne_bytes().to_vec(),
        Datamatch::U32(value) => value.to_ne_bytes().to_vec(),
        Datamatch::U64(value) => value.to_ne_bytes().to_vec(),
        other => panic!("{other:?}"),
    }
}

#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
}

/// Whether a write rings a doorbell, as the table of [`Datamatch::new`] says.
pub(crate) fn rings((offset, datamatch): Place, write: &Write) -> bool {
    let takes = match datamatch {
        Datamatch::AnyWrite => true,
        Datamatch::Width(width) => write.bytes.len() == width as usize,
        value => write.bytes == bytes_of(value),
    };
    offset == write.offset && takes
}

/// Whether some write of the guest would ring both.
pub(crate) fn share_writes(one: Place, other: Place) -> bool {
    let (a, b) = (one.1, other.1);
    let values = [a.value(), b.value()];
    let differ = matches!(values, [Some(one), Some(other)] if one != other);
    let any = a == Datamatch::AnyWrite || b == Datamatch::AnyWrite;
    one.0 == other.0 && (any || a.bytes() == b.bytes() && !differ)
}

/// The bytes that a doorbell covers.
pub(crate) fn bytes((offset, datamatch): Place) -> std::ops::Range<u64> {
    offset..offset + u64::from(datamatch.bytes().max(1))
}

/// Whether the documentation of [`Conflict`](ioeventfd::Conflict) has a case for these two.
pub(crate) fn conflict(one: Place, other: Place) -> bool {
    if one.0 == other.0 {
        return share_writes(one, other);
    }
    let (low, high) = if one.0 < other.0 {
        (one, other)
    } else {
        (other, one)
    };
    let any = |place: Place| place.1 == Datamatch::AnyWrite;
    let overlap = bytes(low).contains(&high.0);
    let adjacent = any(high) && !any(low) && bytes(low).end == high.0;
    overlap || adjacent
}

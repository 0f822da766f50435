// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Place`]: the key under which KVM keeps a doorbell, without the eventfd.

use std::cmp::Ordering;

use super::{Datamatch, IoAddress, Width};

/// Where a doorbell lies and which writes ring it. Ordered by address, then width (any first), then
/// value (all first), so that doorbells at one address follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: IoAddress,
    pub(crate) datamatch: Datamatch,
}

impl Place {
    pub(crate) const fn new(address: IoAddress, datamatch: Datamatch) -> Self {
        Self { address, datamatch }
    }

    /// The lowest place at an address.
    pub(crate) const fn first(address: IoAddress) -> Self {
        Self::new(address, Datamatch::AnyWrite)
    }

    /// The highest place at an address.
    pub(crate) const fn last(address: IoAddress) -> Self {
        Self::new(address, Datamatch::U64(u64::MAX))
    }

    /// How many bytes it covers on the bus. A doorbell for any width counts as one byte.
    pub(crate) fn size(self) -> u64 {
        self.datamatch.bytes().max(1).into()
    }

    /// Whether KVM's bus may miss one of the two, which start at different addresses.
    pub(crate) fn interferes(self, other: Self) -> bool {
        self.overlaps(other) || self.adjoins(other)
    }

    /// Whether another place that starts elsewhere shares a byte with this one.
    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.distance(other)
            .is_some_and(|(low, _, distance)| distance < low.size())
    }

    /// Whether one is for any write and begins where the other ends. KVM's comparison takes these
    /// for equal, so they are in its array in the order of their registration, and its binary
    /// search may miss one of them. Two for any write are ordered by their addresses.
    ///
    /// Kernel source: `kvm_io_bus_cmp` in `virt/kvm/kvm_main.c`.
    fn adjoins(self, other: Self) -> bool {
        let any = |place: Self| place.datamatch == Datamatch::AnyWrite;
        self.distance(other)
            .is_some_and(|(low, high, distance)| distance == low.size() && any(high) && !any(low))
    }

    /// The lower one, the higher one, and how far apart they start, if they do.
    fn distance(self, other: Self) -> Option<(Self, Self, u64)> {
        let (low, high) = if self < other {
            (self, other)
        } else {
            (other, self)
        };
        let distance = high.address.number().checked_sub(low.address.number())?;
        let apart = low.address.bus() == high.address.bus() && distance > 0;
        apart.then_some((low, high, distance))
    }

    /// Whether KVM refuses to register both (EEXIST), whatever their eventfds.
    ///
    /// Kernel source: `ioeventfd_check_collision` in `virt/kvm/eventfd.c`.
    pub(crate) fn collides(self, other: Self) -> bool {
        let (one, two) = (self.datamatch, other.datamatch);
        let same_value = match (one.value(), two.value()) {
            (Some(one), Some(two)) => one == two,
            _ => true,
        };
        self.address == other.address
            && (one.bytes() == 0 || two.bytes() == 0 || (one.bytes() == two.bytes() && same_value))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |place: &Self| (place.datamatch.bytes(), place.datamatch.value());
        let address = self.address.cmp(&other.address);
        address.then_with(|| key(self).cmp(&key(other)))
    }
}

/// The greatest value of a width.
pub(crate) const fn last_value(width: Width) -> Datamatch {
    match width {
        Width::W1 => Datamatch::U8(u8::MAX),
        Width::W2 => Datamatch::U16(u16::MAX),
        Width::W4 => Datamatch::U32(u32::MAX),
        Width::W8 => Datamatch::U64(u64::MAX),
    }
}

/// The width of a write of these bytes, and its value as KVM compares it.
pub(crate) const fn written(bytes: &[u8]) -> Option<(Width, Datamatch)> {
    match *bytes {
        [a] => Some((Width::W1, Datamatch::U8(a))),
        [a, b] => Some((Width::W2, Datamatch::U16(u16::from_ne_bytes([a, b])))),
        [a, b, c, d] => {
            let value = u32::from_ne_bytes([a, b, c, d]);
            Some((Width::W4, Datamatch::U32(value)))
        }
        [a, b, c, d, e, f, g, h] => {
            let value = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
            Some((Width::W8, Datamatch::U64(value)))
        }
        _ => None,
    }
}

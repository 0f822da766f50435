// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! KVM's I/O bus: an array of ranges that claims to be sorted, and the search in it.
//!
//! Kernel source: `kvm_io_bus_register_dev` and `__kvm_io_bus_write` in `virt/kvm/kvm_main.c`, and
//! `lib/bsearch.c`. Ranges that overlap have no order that the comparison respects, so which of
//! them a search finds depends on all that are there. That is behaviour that doorbells can be lost
//! by, so it is kept to the letter.

use std::cmp::Ordering;
use std::io;

use super::errno;

/// A bus takes no more devices that are not doorbells.
const MAX_DEVICES: usize = 1000;

/// What sits at a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Device {
    /// An ioeventfd, by its token.
    Doorbell(u64),
    /// One of the two interrupt controllers of the AT, or the register that both share.
    Pic,
    IoApic,
    /// A zone of coalesced writes, which swallows whatever lies inside.
    Coalesced,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) address: u64,
    pub(super) len: u64,
    pub(super) device: Device,
}

#[derive(Debug, Default)]
pub(super) struct IoBus {
    ranges: Vec<Range>,
    doorbells: usize,
    /// Devices that take room and whose addresses are not known, as those of a GIC.
    unplaced: usize,
}

/// How a range or an access stands to a range. Not an order: see the module's documentation.
fn compare(one: (u64, u64), other: &Range) -> Ordering {
    let (mut start, mut end) = (one.0, other.address);
    if start < end {
        return Ordering::Less;
    }
    if other.len != 0 {
        start = start.wrapping_add(one.1);
        end = end.wrapping_add(other.len);
    }
    if start > end {
        Ordering::Greater
    } else {
        Ordering::Equal
    }
}

impl IoBus {
    /// ENOSPC if there are too many devices that are not doorbells, whatever is to be added.
    pub(super) fn register(&mut self, address: u64, len: u64, device: Device) -> io::Result<()> {
        if self.ranges.len() - self.doorbells + self.unplaced >= MAX_DEVICES {
            return Err(errno(libc::ENOSPC));
        }
        let new = Range {
            address,
            len,
            device,
        };
        let after = |old: &Range| compare((old.address, old.len), &new).is_gt();
        let index = self.ranges.iter().position(after);
        self.ranges.insert(index.unwrap_or(self.ranges.len()), new);
        self.doorbells += usize::from(matches!(device, Device::Doorbell(_)));
        Ok(())
    }

    /// Takes the room of devices without an address.
    pub(super) fn reserve(&mut self, devices: usize) {
        self.unplaced += devices;
    }

    pub(super) fn unregister(&mut self, token: u64) {
        let device = Device::Doorbell(token);
        if let Some(index) = self.ranges.iter().position(|range| range.device == device) {
            self.ranges.remove(index);
            self.doorbells -= 1;
        }
    }

    /// The devices that are offered an access, in turn, until one takes it.
    pub(super) fn candidates(&self, address: u64, len: u64) -> impl Iterator<Item = Range> + '_ {
        let matches = move |range: &&Range| compare((address, len), range).is_eq();
        let first = self.first(address, len).unwrap_or(self.ranges.len());
        let from = self.ranges.get(first..).unwrap_or(&[]);
        from.iter().take_while(matches).copied()
    }

    fn first(&self, address: u64, len: u64) -> Option<usize> {
        let compare_at = |index: usize| Some(compare((address, len), self.ranges.get(index)?));
        let (mut base, mut count) = (0, self.ranges.len());
        let mut found = loop {
            if count == 0 {
                return None;
            }
            let pivot = base + count / 2;
            match compare_at(pivot)? {
                Ordering::Equal => break pivot,
                Ordering::Greater => {
                    base = pivot + 1;
                    count -= 1;
                }
                Ordering::Less => {}
            }
            count /= 2;
        };
        while let Some(before) = found.checked_sub(1) {
            if compare_at(before)?.is_ne() {
                break;
            }
            found = before;
        }
        Some(found)
    }
}

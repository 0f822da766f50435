// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Matcher`]: which doorbell a write rings, by KVM's rules.
//!
//! Kernel source: `ioeventfd_in_range` in `virt/kvm/eventfd.c`; `emulator_read_write` and
//! `vcpu_mmio_write` in `arch/x86/kvm/x86.c` for how a store is split.
//!
//! A sorted array and binary search, not a hash table: a guest chooses the addresses of its BARs,
//! and must not choose how long this takes.

use std::sync::Arc;

use notify_core::EventNotifier;

use crate::bus::{PAGE, Place, written};
use crate::{Datamatch, IoAddress, Width};

/// The most bytes that KVM looks up at a time.
const WORD: u64 = 8;

/// A doorbell that exits are matched against.
#[derive(Debug, Clone)]
pub(in crate::set) struct Target {
    pub(in crate::set) place: Place,
    pub(in crate::set) key: u64,
    pub(in crate::set) notifier: Arc<EventNotifier>,
    /// Higher for later doorbells. Of two that match, the one with the higher rank counts.
    pub(in crate::set) rank: u64,
}

impl Target {
    /// The rank of the set's doorbells now.
    pub(in crate::set) const CURRENT: u64 = u64::MAX;

    pub(in crate::set) fn is_current(&self) -> bool {
        self.rank == Self::CURRENT
    }
}

/// Doorbells in order of their places, one at each.
#[derive(Debug, Default)]
pub(in crate::set) struct Matcher {
    targets: Vec<Target>,
}

impl Matcher {
    pub(in crate::set) fn new(mut targets: Vec<Target>) -> Self {
        // The latest first, and of those at one place the first is kept.
        targets.sort_by(|one, other| {
            let place = one.place.cmp(&other.place);
            place.then(other.rank.cmp(&one.rank))
        });
        targets.dedup_by(|later, first| later.place == first.place);
        Self { targets }
    }

    pub(in crate::set) fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The doorbell that takes a write that KVM looks up in one piece; see [`pieces`].
    pub(in crate::set) fn find(&self, address: IoAddress, bytes: &[u8]) -> Option<&Target> {
        if bytes.len() as u64 > WORD {
            return None;
        }
        let before = |target: &Target| target.place.address < address;
        let from = self.targets.get(self.targets.partition_point(before)..)?;
        let at_address = |target: &&Target| target.place.address == address;
        let first = from.first().filter(at_address)?;
        let write = written(bytes);
        if from.get(1).filter(at_address).is_none() {
            return Some(first).filter(|only| takes(only.place.datamatch, write));
        }
        let any = Some(first).filter(|one| one.place.datamatch == Datamatch::AnyWrite);
        let Some((width, value)) = write else {
            return any;
        };
        let at = |datamatch| {
            let place = Place::new(address, datamatch);
            let found = from.binary_search_by(|target| target.place.cmp(&place));
            found.ok().and_then(|index| from.get(index))
        };
        let matching = [any, at(Datamatch::Width(width)), at(value)];
        let matching = matching.into_iter().flatten();
        matching.max_by_key(|target| target.rank)
    }
}

/// Whether a doorbell takes a write at its address.
fn takes(datamatch: Datamatch, write: Option<(Width, Datamatch)>) -> bool {
    match datamatch {
        Datamatch::AnyWrite => true,
        Datamatch::Width(wanted) => write.is_some_and(|(width, _)| width == wanted),
        value => write.is_some_and(|(_, written)| written == value),
    }
}

/// The pieces in which a store is looked up: within a page, and of at most eight bytes. A port's
/// write is one piece.
pub(in crate::set) fn pieces(
    address: IoAddress,
    bytes: &[u8],
) -> impl Iterator<Item = (IoAddress, &[u8])> {
    let mut next = Some((address, bytes));
    std::iter::from_fn(move || {
        let (at, rest) = next.take().filter(|(_, rest)| !rest.is_empty())?;
        let IoAddress::Mmio(number) = at else {
            return Some((at, rest));
        };
        // Eight bytes counted from the start of the store, or of the page.
        let room = (PAGE - number % PAGE).min(WORD);
        let len = usize::try_from(room).unwrap_or(usize::MAX).min(rest.len());
        let (piece, behind) = rest.split_at(len);
        next = Some((IoAddress::Mmio(number.wrapping_add(room)), behind));
        Some((at, piece))
    })
}

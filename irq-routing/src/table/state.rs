// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`State`]: everything behind the table's lock.

use std::collections::BTreeSet;

use fixedbitset::FixedBitSet;

use crate::commit::edit::Edit;
use crate::commit::kernel::KernelTable;
use crate::commit::queue::Queue;
use crate::table::armed::Registered;
use crate::table::slots::{LeaseId, Slot, Slots};
use crate::{Gsi, KernelRoute, Platform};

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) slots: Slots,
    /// The platform whose chips the pins of a route may be of.
    pub(crate) platform: Platform,
    /// GSIs whose pins belong to no other GSI; see [`DrivenLine`](crate::DrivenLine).
    pub(crate) driven: BTreeSet<Gsi>,
    /// Whether the kernel's table is ours.
    pub(crate) committed: bool,
    /// Whether the kernel has ever taken a table of ours.
    pub(crate) was_committed: bool,
    /// GSIs that were freed while the kernel still had their route.
    pub(crate) stale: FixedBitSet,
    /// GSIs whose route is not in the kernel, because the translation blocks the message.
    pub(crate) blocked: FixedBitSet,
    /// GSIs of the edits that are being examined; empty in between.
    pub(crate) seen: FixedBitSet,
    pub(crate) queue: Queue,
    /// Absent while a round is under way.
    pub(crate) kernel: Option<Box<KernelTable>>,
    pub(crate) registered: Registered,
    /// Memory of the last transaction, reused by the next.
    pub(crate) spare_edits: Vec<Edit>,
}

impl State {
    pub(crate) fn new(slots: Slots) -> Self {
        let limit = slots.limit();
        Self {
            slots,
            platform: Platform::default(),
            driven: BTreeSet::new(),
            committed: false,
            was_committed: false,
            stale: FixedBitSet::with_capacity(limit as usize),
            blocked: FixedBitSet::with_capacity(limit as usize),
            seen: FixedBitSet::with_capacity(limit as usize),
            queue: Queue::default(),
            kernel: Some(Box::new(KernelTable::new(limit))),
            registered: Registered::default(),
            spare_edits: Vec::new(),
        }
    }

    /// Frees a lease's GSI. Its route stays in the kernel until the next commit: nothing is armed
    /// on it, and nothing can be armed before it is routed again.
    pub(crate) fn release(&mut self, gsi: Gsi, lease: LeaseId) {
        match self.slots.get(gsi) {
            Slot::Leased { id, route, .. } | Slot::Parked { id, route, .. } if id == lease => {
                self.slots.put(gsi, Slot::Free);
                if route.is_some() {
                    self.stale.insert(gsi.index());
                }
            }
            // It was taken back, is quarantined, or was left to an owner that may have claimed it.
            _ => {}
        }
    }

    /// Takes a lease's GSI out of use, and keeps its route.
    pub(crate) fn quarantine(&mut self, gsi: Gsi) {
        if let Slot::Leased { route, .. } = self.slots.get(gsi) {
            self.slots.put(gsi, Slot::Quarantined(route));
        }
    }

    /// Keeps a lease's GSI, and its route, until it is claimed.
    pub(crate) fn leave_unclaimed(&mut self, gsi: Gsi) {
        if let Slot::Leased { route, .. } = self.slots.get(gsi) {
            self.slots.put(gsi, Slot::Unclaimed(route));
        }
    }
}

/// What is known of the kernel's table.
impl State {
    /// Whether the translation blocks the message of this GSI.
    pub(crate) fn is_blocked(&self, gsi: Gsi) -> bool {
        self.blocked.contains(gsi.index())
    }

    /// Whether the kernel may still have the route of a dropped lease.
    fn is_stale(&self, gsi: Gsi) -> bool {
        let kernel = self.kernel.as_deref();
        self.stale.contains(gsi.index())
            || kernel.is_some_and(|kernel| kernel.stale.contains(gsi.index()))
    }

    /// What the kernel has for a GSI.
    pub(crate) fn kernel_route(&self, gsi: Gsi) -> KernelRoute {
        match self.slots.get(gsi).route() {
            _ if !self.committed => KernelRoute::Unknown,
            Some(_) if self.is_blocked(gsi) => KernelRoute::Blocked,
            Some(route) => KernelRoute::Routed(route),
            None if self.is_stale(gsi) => KernelRoute::Stale,
            None => KernelRoute::Unrouted,
        }
    }
}

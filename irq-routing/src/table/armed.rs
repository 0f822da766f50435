// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Objects that the table notifies when it removes or restores a route, or translates again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

use crate::Gsi;
use crate::table::slots::LeaseId;

/// Something that signals the GSI of a [`Line`](crate::Line), for example an irqfd.
///
/// If the table's translation blocks a message, the kernel's route is removed. KVM must not have an
/// irqfd on a GSI without a route. With posted interrupts the processor continues to deliver the
/// old vector, and AMD hosts before Linux 5.18 read beyond an array. So the table calls
/// [`disarm`](Self::disarm) first.
///
/// Both methods are called on a thread that commits, while the table holds no lock. They must not
/// commit, nor wait for a thread that does. A commit that was under way when the
/// [`Registration`](crate::Registration) was dropped may still call either of them once.
///
/// The object must hold a lock of its own from the decision to arm until it has armed, and take the
/// same lock in both methods; see [`Line::register`](crate::Line::register).
pub trait Armed: Send + Sync {
    /// Disarms the GSI until [`rearm`](Self::rearm), before its route is removed.
    ///
    /// Returns whether nothing signals the GSI any more. If it returns `false` or
    /// panics, the old route stays, and the commit fails.
    fn disarm(&self) -> bool;

    /// Is called when the GSI has a route again, or still has it.
    ///
    /// After a panic of the VM a later commit calls this, when the kernel's table is known again.
    fn rearm(&self);
}

/// A callback for a changed translation.
pub(crate) type OnRetranslate = dyn Fn() + Send + Sync;

/// Everything that is registered at a table.
#[derive(Default)]
pub(crate) struct Registered {
    pub(super) armed: BTreeMap<(Gsi, u64), One>,
    pub(super) translated: BTreeMap<u64, Arc<OnRetranslate>>,
    pub(super) last: u64,
}

pub(super) struct One {
    /// The lease under which it was registered; `None` for wiring.
    pub(super) lease: Option<LeaseId>,
    pub(super) armed: Weak<dyn Armed>,
}

impl Registered {
    /// Returns what may be armed on a GSI under this lease (or as wiring), and whether that is all
    /// that is registered. An object whose last reference was dropped may still be armed until its
    /// registration is dropped too. What was registered under an earlier lease is about to be
    /// deregistered, and does not concern this one.
    pub(crate) fn armed(&self, gsi: Gsi, lease: Option<LeaseId>) -> (Vec<Arc<dyn Armed>>, bool) {
        let of_gsi = self.armed.range((gsi, 0)..=(gsi, u64::MAX));
        let of_lease = of_gsi.filter(|(_, one)| one.lease == lease);
        let count = of_lease.clone().count();
        let armed: Vec<_> = of_lease
            .filter_map(|(_, one)| one.armed.upgrade())
            .collect();
        let all = armed.len() == count;
        (armed, all)
    }

    pub(crate) fn translated(&self) -> Vec<Arc<OnRetranslate>> {
        self.translated.values().cloned().collect()
    }
}

impl fmt::Debug for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registered")
            .field("armed", &self.armed.len())
            .field("translated", &self.translated.len())
            .finish_non_exhaustive()
    }
}

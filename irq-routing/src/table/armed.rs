// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What is notified of routes that go and come, or are translated anew.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

use crate::Gsi;
use crate::table::slots::LeaseId;

/// What signals the GSI of a [`Line`](crate::Line), an irqfd for instance.
///
/// Where the table's translation blocks a message, the kernel's route goes. KVM must not have an
/// irqfd on a GSI without a route: with posted interrupts the processor goes on to deliver to the
/// old vector, and AMD hosts before Linux 5.18 read beyond an array. So the table has it taken off
/// first.
///
/// Both are called on the thread of a caller that commits, while the table holds no lock. They must
/// not commit, nor wait for a thread that does. Either may still be called, once, by a commit that
/// was under way when the [`Registration`](crate::Registration) was dropped. A panic of `disarm`
/// counts as `false`.
///
/// The object must keep its own lock from the decision to arm until it has armed, and take the same
/// lock in both functions; see [`Line::register`](crate::Line::register).
pub trait Armed: Send + Sync {
    /// The route is about to go. Takes off what signals the GSI, keeps it off until
    /// [`rearm`](Self::rearm), and returns whether nothing signals the GSI any more. If not, the
    /// old route stays, and the commit fails.
    fn disarm(&self) -> bool;

    /// The GSI has a route again, or still. After a panic of the VM this is called by a later
    /// commit, when the kernel's table is known again.
    fn rearm(&self);
}

/// What is called when the translation has changed.
pub(crate) type OnRetranslate = dyn Fn() + Send + Sync;

/// Everything that is registered at a table.
#[derive(Default)]
pub(crate) struct Registered {
    pub(super) armed: BTreeMap<(Gsi, u64), One>,
    pub(super) translated: BTreeMap<u64, Arc<OnRetranslate>>,
    pub(super) last: u64,
}

pub(super) struct One {
    /// Under which the GSI was held.
    pub(super) lease: Option<LeaseId>,
    pub(super) armed: Weak<dyn Armed>,
}

impl Registered {
    /// What may be armed on a GSI under a lease, or on a wired one; and whether this is all that is
    /// registered: one whose last reference has gone may be armed still, until its registration is
    /// dropped. What was registered under an earlier lease is about to go, and concerns no other
    /// one.
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

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`LeftPlaces`]: places that a set has left, where a vCPU may have written before.

use std::collections::VecDeque;
use std::sync::Arc;

use notify_core::EventNotifier;

use super::doorbell::Bell;
use super::kicks::{Successors, Target};
use crate::bus::Place;
use crate::registry::SetId;

/// The time at which a set left some addresses.
///
/// Pass it to [`DoorbellSet::vcpus_passed`](crate::DoorbellSet::vcpus_passed) of the same set,
/// which then does not forget addresses that were left *later*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch {
    set: SetId,
    at: u64,
}

impl Epoch {
    pub(super) fn set(self) -> SetId {
        self.set
    }
}

/// How many changes are remembered until `vcpus_passed`. A guest may move its BAR for ever, and
/// must not make the VMM's memory grow.
const MOST: usize = 64;

#[derive(Debug)]
pub(super) struct LeftPlaces {
    set: SetId,
    /// The latest epoch.
    now: u64,
    left: VecDeque<(u64, Vec<Left>)>,
}

#[derive(Debug)]
struct Left {
    place: Place,
    key: u64,
    notifier: Arc<EventNotifier>,
}

impl LeftPlaces {
    pub(super) fn new(set: SetId) -> Self {
        Self {
            set,
            now: 0,
            left: VecDeque::new(),
        }
    }

    /// Records places that are left now.
    pub(super) fn leave<'a>(&mut self, bells: impl Iterator<Item = &'a Bell>) -> Epoch {
        let left: Vec<_> = bells
            .map(|bell| Left {
                place: bell.place(),
                key: bell.key,
                notifier: Arc::clone(bell.notifier()),
            })
            .collect();
        self.now += 1;
        if !left.is_empty() {
            if self.is_full() {
                self.left.pop_front();
            }
            self.left.push_back((self.now, left));
        }
        self.now()
    }

    /// Whether the next `leave` makes the set forget the first one.
    pub(super) fn is_full(&self) -> bool {
        self.left.len() >= MOST
    }

    /// The rank of the places that are left next.
    pub(super) fn next(&self) -> u64 {
        self.now + 1
    }

    pub(super) fn now(&self) -> Epoch {
        Epoch {
            set: self.set,
            at: self.now,
        }
    }

    /// Forgets what was left until an epoch. Returns whether there was something.
    pub(super) fn forget(&mut self, until: Epoch) -> bool {
        let before = self.left.len();
        self.left.retain(|(at, _)| *at > until.at);
        before != self.left.len()
    }

    /// Makes left places signal the notifiers that their queues have now.
    pub(super) fn redirect(&mut self, successors: &Successors) {
        for one in self.left.iter_mut().flat_map(|(_, left)| left) {
            successors.redirect(one.key, &mut one.notifier);
        }
    }

    /// What exits at these places signal, with the key.
    pub(super) fn notifiers(&self) -> impl Iterator<Item = (u64, &Arc<EventNotifier>)> {
        let left = self.left.iter().flat_map(|(_, left)| left);
        left.map(|one| (one.key, &one.notifier))
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = Target> {
        let all = self.left.iter();
        all.flat_map(|(rank, left)| {
            left.iter().map(|one| Target {
                place: one.place,
                key: one.key,
                notifier: Arc::clone(&one.notifier),
                rank: *rank,
            })
        })
    }
}

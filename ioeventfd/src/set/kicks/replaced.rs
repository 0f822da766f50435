// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Notifiers that have left a set, and their successors.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use notify_core::EventNotifier;

use super::handover::Handover;

/// The successors of the notifiers that leave, by key.
#[derive(Debug)]
pub(in crate::set) struct Successors(BTreeMap<(u64, *const EventNotifier), Arc<EventNotifier>>);

impl Successors {
    pub(in crate::set) fn of(handovers: &[Handover]) -> Self {
        let one = |one: &Handover| ((one.key, Arc::as_ptr(&one.from)), Arc::clone(&one.to));
        Self(handovers.iter().map(one).collect())
    }

    /// Replaces a notifier that leaves by its successor.
    pub(in crate::set) fn redirect(&self, key: u64, notifier: &mut Arc<EventNotifier>) {
        if let Some(to) = self.0.get(&(key, Arc::as_ptr(notifier))) {
            *notifier = Arc::clone(to);
        }
    }
}

/// Notifiers that changes have replaced, sorted, and the keys of each. A notifier that no thread
/// can signal any more is forgotten at the next hand-over.
#[derive(Debug, Default)]
pub(in crate::set) struct ReplacedNotifiers(Vec<(Weak<EventNotifier>, u64)>);

impl ReplacedNotifiers {
    /// Adds those of one more change.
    pub(super) fn and(&self, handovers: &[Handover]) -> Self {
        let there = self.0.iter().filter(|(one, _)| one.strong_count() > 0);
        let new = handovers
            .iter()
            .map(|one| (Arc::downgrade(&one.from), one.key));
        let mut all: Vec<_> = there.cloned().chain(new).collect();
        all.sort_unstable_by_key(|(one, key)| (one.as_ptr(), *key));
        all.dedup_by(|one, other| one.0.ptr_eq(&other.0) && one.1 == other.1);
        Self(all)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn keys(&self, notifier: &Arc<EventNotifier>) -> impl Iterator<Item = u64> {
        let notifier = Arc::as_ptr(notifier);
        let first = self.0.partition_point(|(one, _)| one.as_ptr() < notifier);
        let from = self.0.iter().skip(first);
        from.take_while(move |(one, _)| one.as_ptr() == notifier)
            .map(|(_, key)| *key)
    }
}

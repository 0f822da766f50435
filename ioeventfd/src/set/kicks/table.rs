// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`ExitTable`]: the doorbells that exits are matched against, and where their kicks go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use notify_core::EventNotifier;

use super::handover::{Handover, group_by_notifier};
use super::matcher::Matcher;
use super::replaced::ReplacedNotifiers;

/// What exits are matched against.
#[derive(Debug, Default)]
pub(in crate::set) struct ExitTable {
    pub(in crate::set) matcher: Matcher,
    /// How many changes have moved kicks from one notifier to another.
    pub(in crate::set) handovers: u64,
    /// The notifiers that these changes have replaced.
    pub(in crate::set) replaced: Arc<ReplacedNotifiers>,
}

impl ExitTable {
    /// What must move after kicks of these keys were sent to these notifiers. Nothing moves from a
    /// notifier that still has the key, nor for a key that has no notifier any more.
    pub(super) fn moves<'a>(
        &self,
        sent: impl Iterator<Item = (u64, &'a Arc<EventNotifier>)>,
    ) -> Vec<Handover> {
        let mut sent: Vec<_> = sent.collect();
        sent.sort_unstable_by_key(|(key, from)| (Arc::as_ptr(from), *key));
        // Each table is searched once, however many kicks there are.
        let mut latest = BTreeMap::new();
        let (mut current, mut past) = (BTreeSet::new(), BTreeSet::new());
        for target in self.matcher.targets() {
            let notifier = Arc::as_ptr(&target.notifier);
            if target.is_current() {
                current.insert(notifier);
            } else {
                past.insert((target.key, notifier));
            }
            let of_key = latest.entry(target.key).or_insert(target);
            if of_key.rank <= target.rank {
                *of_key = target;
            }
        }
        let mut moves = Vec::new();
        for of_one in sent.chunk_by(|a, b| Arc::ptr_eq(a.1, b.1)) {
            let Some((_, from)) = of_one.first() else {
                continue;
            };
            let notifier = Arc::as_ptr(from);
            if current.contains(&notifier) {
                continue;
            }
            let keys = of_one.iter().map(|(key, _)| *key);
            let mut keys: Vec<_> = keys.chain(self.replaced.keys(from)).collect();
            keys.sort_unstable();
            keys.dedup();
            let moved = keys.into_iter().filter_map(|key| {
                let latest = latest.get(&key)?;
                let (from, to) = (Arc::clone(from), Arc::clone(&latest.notifier));
                (!past.contains(&(key, notifier))).then_some(Handover { key, from, to })
            });
            moves.extend(moved);
        }
        group_by_notifier(moves)
    }
}

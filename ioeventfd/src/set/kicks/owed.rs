// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which kicks a change of doorbells moves, or must send again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use notify_core::EventNotifier;

use super::handover::{Handover, group_by_notifier};
use crate::set::doorbell::Bell;

/// What a change leaves to do once the set's lock is free.
#[derive(Debug, Default)]
pub(in crate::set) struct Deferred {
    /// Notifiers to signal once, each with one of its keys. This comes before the moves, which may
    /// take from them.
    pub(in crate::set) kicks: Vec<(u64, Arc<EventNotifier>)>,
    pub(in crate::set) moves: Vec<Handover>,
}

/// What is due when doorbells and handovers are undone. The set has `bells` again. It returns at
/// once if there are none, as with most changes.
pub(in crate::set) fn owed_after_undo<'a>(
    taken_back: impl Iterator<Item = &'a Bell>,
    handovers: Vec<Handover>,
    bells: &[Bell],
) -> Deferred {
    let mut taken_back = taken_back.peekable();
    if taken_back.peek().is_none() && handovers.is_empty() {
        return Deferred::default();
    }
    let mut own = BTreeMap::new();
    let (mut served, mut had) = (BTreeSet::new(), BTreeSet::new());
    for bell in bells {
        let notifier = Arc::as_ptr(bell.notifier());
        own.entry(bell.key).or_insert(bell.notifier());
        served.insert((bell.key, notifier));
        had.insert(notifier);
    }
    let of_bells = taken_back.filter_map(|bell| {
        let (from, to) = (bell.notifier(), own.get(&bell.key)?);
        let (key, from, to) = (bell.key, Arc::clone(from), Arc::clone(to));
        Some(Handover { key, from, to })
    });
    let of_handovers = handovers.into_iter().map(|one| Handover {
        key: one.key,
        from: one.to,
        to: one.from,
    });
    let back = of_bells.chain(of_handovers);
    let (kept, moves): (Vec<_>, Vec<_>) = back
        .filter(|one| !served.contains(&(one.key, Arc::as_ptr(&one.from))))
        .partition(|one| had.contains(&Arc::as_ptr(&one.from)));
    let mut kicked = BTreeSet::new();
    let kicks = kept.into_iter().map(|one| (one.key, one.to));
    Deferred {
        kicks: kicks
            .filter(|(_, notifier)| kicked.insert(Arc::as_ptr(notifier)))
            .collect(),
        moves: group_by_notifier(moves),
    }
}

/// The handovers of a change. A notifier that stays in the set, at any place, keeps its kicks,
/// which its handler finds. When it leaves, the left places that still signal it are handed over
/// too, also those of queues that got another notifier before.
pub(in crate::set) fn handovers_of_change<'a>(
    removed: impl Iterator<Item = &'a Bell>,
    kept: impl Iterator<Item = &'a Bell>,
    added: &'a [Bell],
    past: impl Iterator<Item = (u64, &'a Arc<EventNotifier>)>,
) -> Vec<Handover> {
    let mut removed = removed.peekable();
    if removed.peek().is_none() {
        return Vec::new();
    }
    let stays = added.iter().chain(kept);
    let stays: Vec<_> = stays.map(|bell| (bell.key, bell.notifier())).collect();
    let staying: BTreeSet<_> = stays.iter().map(|(_, one)| Arc::as_ptr(one)).collect();
    let gone: Vec<_> = removed
        .map(|bell| (bell.key, bell.notifier()))
        .filter(|(_, one)| !staying.contains(&Arc::as_ptr(one)))
        .collect();
    if gone.is_empty() {
        return Vec::new();
    }
    let leaving: BTreeSet<_> = gone.iter().map(|(_, one)| Arc::as_ptr(one)).collect();
    let past = past.filter(|(_, one)| leaving.contains(&Arc::as_ptr(one)));
    let successors: BTreeMap<_, _> = stays.into_iter().rev().collect();
    let handover = |(key, from): (u64, &Arc<EventNotifier>)| {
        let (from, to) = (Arc::clone(from), Arc::clone(successors.get(&key)?));
        Some(Handover { key, from, to })
    };
    group_by_notifier(gone.into_iter().chain(past).filter_map(handover).collect())
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What queues are owed when their new doorbells are taken back.
//!
//! Kicks may have gone to the new doorbells' notifiers: by exits from the moment at which the change is
//! published, and by the kernel. A notifier that the set did not have before gives back what it has. A
//! notifier that the set had for other queues keeps what it has, since the count does not say whose the
//! kicks are; instead the queue's own notifier is signalled once. One look too many at a queue does no
//! harm; one too few stops the queue for good.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use notify_core::EventNotifier;

use super::doorbell::Bell;
use super::handover::{Handover, in_groups};

/// What a change leaves to be done when the set's lock is free again.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    /// Notifiers that are signalled once, each with a key that it stands for. They come before the moves,
    /// which may take from them.
    pub(super) kicks: Vec<(u64, Arc<EventNotifier>)>,
    pub(super) moves: Vec<Handover>,
}

/// What is due when doorbells are taken back, and handovers with them. The set has `bells` again.
/// Takes no time if there are none, as with most changes.
pub(super) fn undo<'a>(
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
        moves: in_groups(moves),
    }
}

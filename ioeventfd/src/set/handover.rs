// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What is pending in a notifier that a set signals no more goes to the one that took its place.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use notify_core::{EventFdMode, EventNotifier};

use super::doorbell::Bell;

/// How often a notifier is read that gives up one kick at a time. Its peer may write for ever.
const MOST_READS: u32 = 1 << 16;

/// Of one key: a notifier that leaves the set, and one that the key's doorbells signal from now on.
#[derive(Debug)]
pub(super) struct Handover {
    pub(super) key: u64,
    pub(super) from: Arc<EventNotifier>,
    pub(super) to: Arc<EventNotifier>,
}

/// The handovers of a change. A notifier that stays in the set, at whatever place, keeps what it has:
/// somebody looks at it.
pub(super) fn find<'a>(
    removed: impl Iterator<Item = &'a Bell>,
    kept: impl Iterator<Item = &'a Bell>,
    added: &'a [Bell],
) -> Vec<Handover> {
    let mut removed = removed.peekable();
    if removed.peek().is_none() {
        return Vec::new();
    }
    let stays = added.iter().chain(kept);
    let stays: Vec<_> = stays.map(|bell| (bell.key, bell.notifier())).collect();
    let staying: HashSet<_> = stays.iter().map(|(_, one)| Arc::as_ptr(one)).collect();
    let mut gone = removed
        .filter(|bell| !staying.contains(&Arc::as_ptr(bell.notifier())))
        .peekable();
    if gone.peek().is_none() {
        return Vec::new();
    }
    let successors: HashMap<_, _> = stays.into_iter().rev().collect();
    let handover = |bell: &Bell| {
        Some(Handover {
            key: bell.key,
            from: Arc::clone(bell.notifier()),
            to: Arc::clone(successors.get(&bell.key)?),
        })
    };
    gone.filter_map(handover).collect()
}

/// Carries them out, after which no signal comes to the old notifiers.
pub(super) fn carry_out(handovers: &[Handover]) {
    transfer(handovers.iter().map(|one| (&one.from, &one.to)));
}

/// Takes them back, but for new notifiers that the set had before too.
pub(super) fn take_back(handovers: &[Handover], kept: impl Fn(&Arc<EventNotifier>) -> bool) {
    let back = handovers.iter().filter(|one| !kept(&one.to));
    transfer(back.map(|one| (&one.to, &one.from)));
}

/// A notifier that several others follow stood for all of them, so all get what it has.
fn transfer<'a>(pairs: impl Iterator<Item = (&'a Arc<EventNotifier>, &'a Arc<EventNotifier>)>) {
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort_by_key(|(from, to)| (Arc::as_ptr(from), Arc::as_ptr(to)));
    pairs.dedup_by(|a, b| Arc::ptr_eq(a.0, b.0) && Arc::ptr_eq(a.1, b.1));
    for group in pairs.chunk_by(|a, b| Arc::ptr_eq(a.0, b.0)) {
        let Some((from, _)) = group.first() else {
            continue;
        };
        let kicks = take(from);
        for (_, to) in group {
            give(to, kicks);
        }
    }
}

/// All kicks in a notifier.
fn take(notifier: &EventNotifier) -> u64 {
    let reads = match notifier.mode() {
        EventFdMode::Counter => 1,
        EventFdMode::Semaphore | EventFdMode::Unknown => MOST_READS,
    };
    let mut kicks: u64 = 0;
    for _ in 0..reads {
        match notifier.consume() {
            Ok(Some(more)) => kicks = kicks.saturating_add(more.get()),
            Ok(None) => break,
            Err(error) => {
                // One look too many at a queue does no harm. One too few stops it for good.
                log::error!("a kick is assumed in a notifier that is replaced: {error}");
                return kicks.saturating_add(1);
            }
        }
    }
    kicks
}

/// Adds kicks to a notifier. A counter that cannot grow so far has one pending, which is enough.
pub(super) fn give(notifier: &EventNotifier, kicks: u64) {
    if kicks == 0 {
        return;
    }
    if notifier.as_ref().write(kicks).is_err() && notifier.notify().is_err() {
        log::error!("a queue's kicks cannot be handed over to its new notifier");
    }
}

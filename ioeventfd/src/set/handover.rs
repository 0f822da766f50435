// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What is pending in a notifier that a set signals no more goes to the one that took its place.
//!
//! A peer that shares a notifier can make a signal wait, so all signals are sent with no lock held:
//! those of exits, those of `start` and `kick`, and those that move kicks. So a change may *overtake* a
//! signal: the notifier was looked up before the change, and is signalled after the change has moved
//! what was pending in it. Every hand-over is therefore counted, under the lock of the table that
//! notifiers are looked up in. A thread reads the count with the notifier, and again after its signal.
//! If the two are the same, the signal came before the hand-over, which then found it. If not, the
//! thread itself moves what is pending to the notifier that the key has now, and looks again. The
//! notifier may have had kicks of other keys too, and a thread that takes one kick takes all. So the set
//! remembers which keys a replaced notifier stood for, and the thread moves the kicks for all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::sync::{Arc, PoisonError, Weak};

use notify_core::{EventFdMode, EventNotifier};

use super::doorbell::Bell;
use super::exit::Exits;
use super::undo::Deferred;
use super::{DoorbellSet, State};
use crate::Error;

/// How often a notifier is read that gives up one kick at a time. Its peer may write for ever.
const MOST_READS: u32 = 1 << 16;

/// Of one key: a notifier that leaves the set, and one that the key's doorbells signal from now on.
#[derive(Debug)]
pub(super) struct Handover {
    pub(super) key: u64,
    pub(super) from: Arc<EventNotifier>,
    pub(super) to: Arc<EventNotifier>,
}

/// What follows the notifiers that leave, by key.
#[derive(Debug)]
pub(super) struct Successors(BTreeMap<(u64, *const EventNotifier), Arc<EventNotifier>>);

impl Successors {
    pub(super) fn of(handovers: &[Handover]) -> Self {
        let one = |one: &Handover| ((one.key, Arc::as_ptr(&one.from)), Arc::clone(&one.to));
        Self(handovers.iter().map(one).collect())
    }

    /// Puts its successor in the place of a notifier that leaves.
    pub(super) fn redirect(&self, key: u64, notifier: &mut Arc<EventNotifier>) {
        if let Some(to) = self.0.get(&(key, Arc::as_ptr(notifier))) {
            *notifier = Arc::clone(to);
        }
    }
}

/// A notifier that is to be signalled, or was, and the keys that it stands for. (`K` is a vector or,
/// where nothing may be allocated, an array.)
#[derive(Debug)]
pub(super) struct Due<K> {
    pub(super) keys: K,
    pub(super) notifier: Arc<EventNotifier>,
    /// How many hand-overs there had been when it was looked up.
    pub(super) seen: u64,
}

impl<K: AsRef<[u64]>> Due<K> {
    pub(super) fn first_key(&self) -> u64 {
        self.keys.as_ref().first().copied().unwrap_or_default()
    }
}

impl DoorbellSet {
    /// Runs a change, then sends and moves the kicks that it says, when the lock is free again.
    pub(super) fn change<R>(&self, act: impl FnOnce(&mut State, &mut Deferred) -> R) -> R {
        let mut deferred = Deferred::default();
        let mut state = self.lock();
        let result = act(&mut state, &mut deferred);
        let seen = self.exits().handovers;
        drop(state);
        for (key, notifier) in deferred.kicks {
            let keys = [key];
            let due = Due {
                keys,
                notifier,
                seen,
            };
            if let Err(error) = self.signal(&due) {
                log::error!("a queue may have missed a kick during a change that failed: {error}");
            }
        }
        self.hand_over(deferred.moves, seen);
        result
    }

    /// Remembers which keys the notifiers stand for that a change replaces. Call it under the set's
    /// lock, before their places in the table go: from then on other threads may move their kicks.
    pub(super) fn remember(&self, handovers: &[Handover]) {
        let before = Arc::clone(&self.exits().replaced);
        let mut replaced = Arc::new(before.and(handovers));
        let mut exits = self.exits.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut exits.replaced, &mut replaced);
        // The old list is freed without the lock.
        drop(exits);
    }

    /// From now on a signal that a change has overtaken is moved by the thread that sent it.
    pub(super) fn count_handover(&self) {
        let mut exits = self.exits.write().unwrap_or_else(PoisonError::into_inner);
        exits.handovers += 1;
    }

    /// Signals a notifier. The set's locks must be free: a peer may make this wait.
    pub(super) fn signal(&self, due: &Due<impl AsRef<[u64]>>) -> Result<(), Error> {
        let key = due.first_key();
        let signalled = due.notifier.notify();
        signalled.map_err(|cause| Error::Signal { key, cause })?;
        self.follow(due);
        Ok(())
    }

    /// Moves on what was signalled, if a change has overtaken the signal.
    pub(super) fn follow(&self, due: &Due<impl AsRef<[u64]>>) {
        let sent = due.keys.as_ref().iter().map(|key| (*key, &due.notifier));
        if let Some((seen, moves)) = self.overtaken(due.seen, sent) {
            self.hand_over(moves, seen);
        }
    }

    /// Moves kicks, and moves them on if a change has overtaken that.
    fn hand_over(&self, mut moves: Vec<Handover>, mut seen: u64) {
        while !moves.is_empty() {
            transfer(&moves);
            let sent = moves.iter().map(|one| (one.key, &one.to));
            let Some(overtaken) = self.overtaken(seen, sent) else {
                return;
            };
            (seen, moves) = overtaken;
        }
    }

    /// If there was a hand-over since `seen`: how many there are now, and what is to be moved after
    /// kicks of these keys were sent to these notifiers.
    fn overtaken<'a>(
        &self,
        seen: u64,
        sent: impl Iterator<Item = (u64, &'a Arc<EventNotifier>)>,
    ) -> Option<(u64, Vec<Handover>)> {
        let exits = self.exits();
        (exits.handovers != seen).then(|| (exits.handovers, exits.moves(sent)))
    }
}

impl Exits {
    /// What is to be moved after kicks of these keys were sent to these notifiers: nothing from a
    /// notifier where the kicks should be, nor for a key that has no notifier any more.
    fn moves<'a>(
        &self,
        sent: impl Iterator<Item = (u64, &'a Arc<EventNotifier>)>,
    ) -> Vec<Handover> {
        let mut sent: Vec<_> = sent.collect();
        sent.sort_unstable_by_key(|(key, from)| (Arc::as_ptr(from), *key));
        // Each table is looked through once, however many the kicks are.
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
        in_groups(moves)
    }
}

/// Notifiers that changes have replaced, and the keys that each stood for, in order. A notifier that
/// no thread can signal any more is forgotten at the next hand-over.
#[derive(Debug, Default)]
pub(super) struct Replaced(Vec<(Weak<EventNotifier>, u64)>);

impl Replaced {
    /// With those of one more change.
    fn and(&self, handovers: &[Handover]) -> Self {
        let there = self.0.iter().filter(|(one, _)| one.strong_count() > 0);
        let new = handovers
            .iter()
            .map(|one| (Arc::downgrade(&one.from), one.key));
        let mut all: Vec<_> = there.cloned().chain(new).collect();
        all.sort_unstable_by_key(|(one, key)| (one.as_ptr(), *key));
        all.dedup_by(|one, other| one.0.ptr_eq(&other.0) && one.1 == other.1);
        Self(all)
    }

    fn keys(&self, notifier: &Arc<EventNotifier>) -> impl Iterator<Item = u64> {
        let notifier = Arc::as_ptr(notifier);
        let first = self.0.partition_point(|(one, _)| one.as_ptr() < notifier);
        let from = self.0.iter().skip(first);
        from.take_while(move |(one, _)| one.as_ptr() == notifier)
            .map(|(_, key)| *key)
    }
}

/// The handovers of a change. A notifier that stays in the set, at whatever place, keeps what it has:
/// its handler looks at it. When it leaves, the places in the `past` that still signal it are handed
/// over with it, those of queues that left it before included.
pub(super) fn find<'a>(
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
    in_groups(gone.into_iter().chain(past).filter_map(handover).collect())
}

/// Those of one old notifier together, and among them those of one new notifier.
pub(super) fn in_groups(mut handovers: Vec<Handover>) -> Vec<Handover> {
    handovers.sort_by_key(|one| (Arc::as_ptr(&one.from), Arc::as_ptr(&one.to)));
    handovers
}

/// A notifier that several others follow stood for all of them, so all get what it has.
fn transfer(handovers: &[Handover]) {
    for group in handovers.chunk_by(|a, b| Arc::ptr_eq(&a.from, &b.from)) {
        let kicks = group.first().map_or(0, |one| take(&one.from));
        for same in group.chunk_by(|a, b| Arc::ptr_eq(&a.to, &b.to)) {
            if let Some(one) = same.first() {
                give(&one.to, kicks);
            }
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
    let Some(kicks) = NonZeroU64::new(kicks) else {
        return;
    };
    if !matches!(notifier.add(kicks), Ok(true)) && notifier.notify().is_err() {
        log::error!("a queue's kicks cannot be handed over to its new notifier");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use notify_core::sim::SimVm;

    use super::*;
    use crate::{Datamatch, Doorbell, DoorbellRegistry, IoAddress, Width};

    const ADDRESSES: [IoAddress; 2] = [IoAddress::Mmio(0xd000_0000), IoAddress::Mmio(0xd000_0004)];

    fn notifiers() -> [Arc<EventNotifier>; 3] {
        [(); 3].map(|()| Arc::new(EventNotifier::new().unwrap()))
    }

    fn set() -> DoorbellSet {
        DoorbellSet::new(&DoorbellRegistry::new(
            Arc::new(SimVm::builder().build()),
            &[],
        ))
    }

    /// Two queues, which signal these.
    fn have(set: &DoorbellSet, these: [&Arc<EventNotifier>; 2]) {
        let bell = |key: usize| {
            let datamatch = Datamatch::Width(Width::W2);
            Doorbell::new(
                key as u64,
                ADDRESSES[key],
                datamatch,
                Arc::clone(these[key]),
            )
        };
        set.apply(set.plan([bell(0), bell(1)]).unwrap()).unwrap();
    }

    fn pending(all: &[Arc<EventNotifier>]) -> Vec<u64> {
        let count = |one: &Arc<EventNotifier>| one.consume().unwrap().map_or(0, u64::from);
        all.iter().map(count).collect()
    }

    /// Both queues have one notifier. A change that gives each its own overtakes a kick of either; then
    /// the kicks come, and the thread of one takes both.
    #[test]
    fn kicks_of_two_queues_in_one_replaced_notifier_come_to_both() {
        let (set, all) = (set(), notifiers());
        have(&set, [&all[0]; 2]);
        let kicks = ADDRESSES.map(|at| set.due(at, &[0; 2]).unwrap());
        have(&set, [&all[1], &all[2]]);
        kicks.iter().for_each(|due| due.notifier.notify().unwrap());
        kicks.iter().for_each(|due| set.follow(due));
        assert_eq!(pending(&all), [0, 2, 2]);
    }

    /// The first change hands one queue's kicks to the notifier of another queue. The second change
    /// gives both new ones, and overtakes that hand-over.
    #[test]
    fn a_hand_over_that_is_moved_on_takes_no_other_queues_kick_with_it() {
        let (set, all) = (set(), notifiers());
        let old = Arc::new(EventNotifier::new().unwrap());
        have(&set, [&old, &all[0]]);
        let kick = set.due(ADDRESSES[1], &[0; 2]).unwrap();
        have(&set, [&all[0]; 2]);
        let seen = set.exits().handovers;
        have(&set, [&all[1], &all[2]]);
        kick.notifier.notify().unwrap();
        old.notify().unwrap();
        let (from, to) = (Arc::clone(&old), Arc::clone(&all[0]));
        set.hand_over(vec![Handover { key: 0, from, to }], seen);
        set.follow(&kick);
        assert_eq!(pending(&all), [0, 2, 2]);
    }

    #[test]
    fn replaced_notifiers_are_remembered_as_long_as_they_are_open() {
        let (set, all) = (set(), notifiers());
        let remembered = |set: &DoorbellSet| set.exits().replaced.0.len();
        for turn in 0..100 {
            let fresh = Arc::new(EventNotifier::new().unwrap());
            have(&set, [&all[turn % 3], &fresh]);
            drop(fresh);
            let now = set.lock().past.now();
            set.vcpus_passed(now).unwrap();
        }
        // Three of the one queue, which are still open, and the latest two of the other.
        assert!(remembered(&set) <= 5, "{}", remembered(&set));
    }
}

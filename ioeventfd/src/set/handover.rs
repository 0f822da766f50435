// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What is pending in a notifier that a set signals no more goes to the one that took its place.
//!
//! A peer that shares a notifier can make a signal wait, so all signals are sent with no lock held:
//! those of exits, those of `start` and `kick`, and those that move kicks. So a change may *overtake* a
//! signal: the notifier was looked up before the change, and is signalled after the change has moved
//! what was pending in it. Every hand-over is therefore counted, under the lock of the table that
//! notifiers are looked up in. A thread reads the count with the notifier, and again after its signal.
//! If the two are the same, the signal came before the hand-over, which then found it. If not, the
//! thread itself moves what is pending to the notifier that the key has now, and looks again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};

use notify_core::{EventFdMode, EventNotifier};

use super::doorbell::Bell;
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
pub(super) struct Successors(HashMap<(u64, *const EventNotifier), Arc<EventNotifier>>);

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
    /// Runs a change, then moves the kicks that it says, when the lock is free again.
    pub(super) fn change<R>(&self, act: impl FnOnce(&mut State, &mut Vec<Handover>) -> R) -> R {
        let mut moves = Vec::new();
        let mut state = self.lock();
        let result = act(&mut state, &mut moves);
        let seen = self.exits().handovers;
        drop(state);
        self.hand_over(moves, seen);
        result
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
        signalled.map_err(|source| Error::Signal { key, source })?;
        self.follow(due);
        Ok(())
    }

    /// Moves on what was signalled, if a change has overtaken the signal.
    pub(super) fn follow(&self, due: &Due<impl AsRef<[u64]>>) {
        let exits = self.exits();
        if exits.handovers == due.seen {
            return;
        }
        let seen = exits.handovers;
        let keys = due.keys.as_ref().iter();
        let moves = keys.filter_map(|key| exits.handover(*key, &due.notifier));
        let moves = in_groups(moves.collect());
        drop(exits);
        self.hand_over(moves, seen);
    }

    /// Moves kicks, and moves them on if a change has overtaken that.
    fn hand_over(&self, mut moves: Vec<Handover>, mut seen: u64) {
        while !moves.is_empty() {
            transfer(&moves);
            let exits = self.exits();
            if exits.handovers == seen {
                return;
            }
            seen = exits.handovers;
            let next = moves.iter();
            let next = next.filter_map(|one| exits.handover(one.key, &one.to));
            moves = in_groups(next.collect());
        }
    }
}

/// The handovers of a change. A notifier that stays in the set, at whatever place, keeps what it has:
/// its handler looks at it.
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
    in_groups(gone.filter_map(handover).collect())
}

/// The same backwards, but for new notifiers that the set had before too.
pub(super) fn reversed(
    handovers: Vec<Handover>,
    kept: impl Fn(&Arc<EventNotifier>) -> bool,
) -> Vec<Handover> {
    let back = handovers.into_iter().filter(|one| !kept(&one.to));
    let reverse = |one: Handover| Handover {
        key: one.key,
        from: one.to,
        to: one.from,
    };
    in_groups(back.map(reverse).collect())
}

/// Those of one old notifier together, and among them those of one new notifier.
fn in_groups(mut handovers: Vec<Handover>) -> Vec<Handover> {
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
    if kicks == 0 {
        return;
    }
    if notifier.as_ref().write(kicks).is_err() && notifier.notify().is_err() {
        log::error!("a queue's kicks cannot be handed over to its new notifier");
    }
}

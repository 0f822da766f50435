// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Signals that a set sends, and those that a change has overtaken.

use std::sync::{Arc, PoisonError};

use notify_core::EventNotifier;

use super::handover::{Handover, transfer};
use super::owed::Deferred;
use crate::Error;
use crate::set::{DoorbellSet, State};

/// A notifier to signal, or that was signalled, and its keys. (`K` is a vector or, where allocation
/// is not allowed, an array.)
#[derive(Debug)]
pub(in crate::set) struct Signal<K> {
    pub(in crate::set) keys: K,
    pub(in crate::set) notifier: Arc<EventNotifier>,
    /// The number of hand-overs when it was looked up.
    pub(in crate::set) seen: u64,
}

impl<K: AsRef<[u64]>> Signal<K> {
    pub(in crate::set) fn first_key(&self) -> u64 {
        self.keys.as_ref().first().copied().unwrap_or_default()
    }
}

impl DoorbellSet {
    /// Runs a change under the lock, then sends and moves the kicks that it deferred.
    pub(in crate::set) fn change<R>(&self, act: impl FnOnce(&mut State, &mut Deferred) -> R) -> R {
        let mut deferred = Deferred::default();
        let mut state = self.lock();
        let result = act(&mut state, &mut deferred);
        let seen = self.exits().handovers;
        drop(state);
        for (key, notifier) in deferred.kicks {
            let keys = [key];
            let due = Signal {
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

    /// Remembers the keys of the notifiers that a change replaces. Call it under the set's lock,
    /// before their places leave the table: from then on other threads may move their kicks.
    pub(in crate::set) fn remember(&self, handovers: &[Handover]) {
        let before = Arc::clone(&self.exits().replaced);
        let mut replaced = Arc::new(before.and(handovers));
        let mut exits = self.exits.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut exits.replaced, &mut replaced);
        // The old list is freed without the lock.
        drop(exits);
    }

    /// Counts a hand-over: from now on a thread whose signal was overtaken moves that signal.
    pub(in crate::set) fn count_handover(&self) {
        let mut exits = self.exits.write().unwrap_or_else(PoisonError::into_inner);
        exits.handovers += 1;
    }

    /// Signals a notifier. The set's locks must be free: a peer may make this block.
    pub(in crate::set) fn signal(&self, due: &Signal<impl AsRef<[u64]>>) -> Result<(), Error> {
        let key = due.first_key();
        let signalled = due.notifier.notify();
        signalled.map_err(|cause| Error::Signal { key, cause })?;
        self.follow(due);
        Ok(())
    }

    /// Moves a signal on, if a change has overtaken it.
    pub(in crate::set) fn follow(&self, due: &Signal<impl AsRef<[u64]>>) {
        let sent = due.keys.as_ref().iter().map(|key| (*key, &due.notifier));
        if let Some((seen, moves)) = self.overtaken(due.seen, sent) {
            self.hand_over(moves, seen);
        }
    }

    /// Moves kicks, and moves them on if a change has overtaken that.
    pub(super) fn hand_over(&self, mut moves: Vec<Handover>, mut seen: u64) {
        while !moves.is_empty() {
            transfer(&moves);
            let sent = moves.iter().map(|one| (one.key, &one.to));
            let Some(overtaken) = self.overtaken(seen, sent) else {
                return;
            };
            (seen, moves) = overtaken;
        }
    }

    /// If there was a hand-over since `seen`: the number of hand-overs now, and what must move
    /// after kicks of these keys were sent to these notifiers.
    fn overtaken<'a>(
        &self,
        seen: u64,
        sent: impl Iterator<Item = (u64, &'a Arc<EventNotifier>)>,
    ) -> Option<(u64, Vec<Handover>)> {
        let exits = self.exits();
        (exits.handovers != seen).then(|| (exits.handovers, exits.moves(sent)))
    }
}

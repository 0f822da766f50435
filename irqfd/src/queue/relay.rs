// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Vectors for which no GSI was free: their signals are sent on as messages.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Weak};

use nix::sys::epoll::{EpollEvent, EpollFlags, EpollTimeout};
use notify_core::EventNotifier;

use super::{READY, Shared};
use crate::Error;
use crate::vector::{Inner, Outcome};

/// How many signals one round sends on at most; others wait for the next.
const AT_ONCE: usize = 256;

/// Those who are relayed, by the number that the epoll knows them under.
#[derive(Default)]
pub(super) struct Relays {
    vectors: BTreeMap<u64, Weak<Inner>>,
    last: u64,
}

/// The relaying of one vector. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Relay {
    queue: Arc<Shared>,
    notifier: Arc<EventNotifier>,
    number: u64,
}

impl Relay {
    pub(crate) fn new(
        queue: &Arc<Shared>,
        vector: &Arc<Inner>,
        notifier: Arc<EventNotifier>,
    ) -> io::Result<Self> {
        let mut relays = queue.relays.lock();
        relays.last += 1;
        let number = READY + relays.last;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, number);
        queue.epoll.add(&*notifier, event)?;
        relays.vectors.insert(number, Arc::downgrade(vector));
        Ok(Self {
            queue: Arc::clone(queue),
            notifier,
            number,
        })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let mut relays = self.queue.relays.lock();
        relays.vectors.remove(&self.number);
        // It was added and is open, so this does not fail.
        let _ = self.queue.epoll.delete(&*self.notifier);
    }
}

impl Shared {
    /// Sends a message for each relayed vector that has a signal, and answers with how many were
    /// sent.
    pub(super) fn relay_signals(&self, outcome: &mut Outcome) -> usize {
        let mut events = [EpollEvent::empty(); AT_ONCE];
        let count = self
            .epoll
            .wait(&mut events, EpollTimeout::ZERO)
            .unwrap_or(0);
        let signalled = |event: &EpollEvent| {
            let relays = self.relays.lock();
            relays.vectors.get(&event.data()).and_then(Weak::upgrade)
        };
        let vectors = events.iter().take(count).filter_map(signalled);
        let relay = |vector: &Arc<Inner>| outcome.guard(|| vector.relay()) == Some(true);
        vectors.filter(relay).count()
    }

    /// The vectors that are relayed.
    pub(super) fn relayed(&self) -> Vec<Arc<Inner>> {
        let relays = self.relays.lock();
        relays.vectors.values().filter_map(Weak::upgrade).collect()
    }

    /// The owner is gone.
    pub(super) fn end_relays(&self) {
        for vector in self.relayed() {
            vector.end_relay(Error::QueueGone);
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Handover`]: moves kicks from one notifier to another.

use std::num::NonZeroU64;
use std::sync::Arc;

use notify_core::{EventFdMode, EventNotifier};

/// How often a notifier in semaphore mode is read. Its peer may write for ever.
const MOST_READS: u32 = 1 << 16;

/// For one key: a notifier that leaves the set, and the one that its doorbells signal from now on.
#[derive(Debug)]
pub(in crate::set) struct Handover {
    pub(in crate::set) key: u64,
    pub(in crate::set) from: Arc<EventNotifier>,
    pub(in crate::set) to: Arc<EventNotifier>,
}

/// Sorts by old notifier, then by new notifier.
pub(in crate::set) fn group_by_notifier(mut handovers: Vec<Handover>) -> Vec<Handover> {
    handovers.sort_by_key(|one| (Arc::as_ptr(&one.from), Arc::as_ptr(&one.to)));
    handovers
}

/// Moves the kicks. A notifier with several successors gives its count to each of them.
pub(super) fn transfer(handovers: &[Handover]) {
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
        _ => MOST_READS,
    };
    let mut kicks: u64 = 0;
    for _ in 0..reads {
        match notifier.consume() {
            Ok(Some(more)) => kicks = kicks.saturating_add(more.get()),
            Ok(None) => break,
            Err(error) => {
                // A spurious kick is harmless. A lost one stops the queue for ever.
                log::error!("a kick is assumed in a notifier that is replaced: {error}");
                return kicks.saturating_add(1);
            }
        }
    }
    kicks
}

/// Adds kicks to a notifier. If the counter has no room for all, one kick is enough.
pub(in crate::set) fn give(notifier: &EventNotifier, kicks: u64) {
    let Some(kicks) = NonZeroU64::new(kicks) else {
        return;
    };
    if !matches!(notifier.add(kicks), Ok(true)) && notifier.notify().is_err() {
        log::error!("a queue's kicks cannot be handed over to its new notifier");
    }
}

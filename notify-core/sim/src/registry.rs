// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which eventfds are bound as irqfds, in any VM of this process.
//!
//! An eventfd has room for one irqfd (Linux 6.17 and later), so a second VM is refused too.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::eventfd::Held;

/// Sorted by eventfd, so that a look-up costs a few system calls and not one for each.
static BOUND: Mutex<Vec<(Held, u64)>> = Mutex::new(Vec::new());

fn lock() -> MutexGuard<'static, Vec<(Held, u64)>> {
    BOUND.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes down that an eventfd is bound; `false` if it was already.
pub(super) fn insert(eventfd: &Held, token: u64) -> bool {
    let mut bound = lock();
    let place = bound.binary_search_by(|(other, _)| other.order(eventfd));
    match place {
        Ok(_) => false,
        Err(place) => {
            bound.insert(place, (eventfd.clone(), token));
            true
        }
    }
}

/// Removes an eventfd, if `agree` accepts the token under which it was bound.
pub(super) fn remove_if(eventfd: &Held, agree: impl FnOnce(u64) -> bool) -> Option<u64> {
    let mut bound = lock();
    let place = bound
        .binary_search_by(|(other, _)| other.order(eventfd))
        .ok()?;
    let (_, token) = bound.get(place)?;
    let token = *token;
    agree(token).then(|| {
        bound.remove(place);
        token
    })
}

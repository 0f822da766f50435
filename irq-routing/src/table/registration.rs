// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Registration`]: the guard of an object or callback that is registered at a table.

use std::fmt;
use std::sync::{Arc, Weak};

use super::armed::{OnRetranslate, One};
use super::slots::LeaseId;
use super::state::State;
use crate::{Armed, Gsi, RoutingTable};

/// Keeps an object or a callback registered at a table; dropping it deregisters it. No ioctl.
///
/// The registration of an [`Armed`] object is valid for the lease of its line only. Drop it after
/// the object is disarmed. The route is not removed while a registration exists whose object has
/// been dropped, nor while a line exists without a registration.
#[must_use = "dropping it ends the registration"]
pub struct Registration {
    table: RoutingTable,
    key: Key,
}

/// How a registration is found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Armed(Gsi, u64),
    Translated(u64),
}

impl Registration {
    /// Registers what is armed on a GSI. Also returns whether its message is blocked.
    pub(crate) fn armed(
        table: &RoutingTable,
        (gsi, lease): (Gsi, Option<LeaseId>),
        armed: Weak<dyn Armed>,
        state: &mut State,
    ) -> (Self, bool) {
        state.registered.last += 1;
        let number = state.registered.last;
        let one = One { lease, armed };
        state.registered.armed.insert((gsi, number), one);
        let (table, key) = (table.clone(), Key::Armed(gsi, number));
        (Self { table, key }, state.is_blocked(gsi))
    }

    pub(crate) fn translated(table: &RoutingTable, callback: Arc<OnRetranslate>) -> Self {
        let mut state = table.lock();
        state.registered.last += 1;
        let number = state.registered.last;
        state.registered.translated.insert(number, callback);
        drop(state);
        let (table, key) = (table.clone(), Key::Translated(number));
        Self { table, key }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut state = self.table.lock();
        match self.key {
            Key::Armed(gsi, number) => drop(state.registered.armed.remove(&(gsi, number))),
            Key::Translated(number) => {
                let callback = state.registered.translated.remove(&number);
                // Dropping the caller's callback runs foreign code, so not under the lock.
                drop(state);
                drop(callback);
            }
        }
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").finish_non_exhaustive()
    }
}

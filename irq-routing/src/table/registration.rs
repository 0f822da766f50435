// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Registration`]: the guard of something that is registered at a table.

use std::fmt;
use std::sync::{Arc, Weak};

use super::armed::{OnRetranslate, One};
use super::slots::LeaseId;
use super::state::State;
use crate::{Armed, Gsi, RoutingTable};

/// Keeps something registered at a table until it is dropped. That of an [`Armed`] object counts
/// for the lease of its line alone. It must not be dropped before the object is disarmed; while it
/// lives and the object does not, the route stays. A line that is there longer than its
/// registration keeps its route, too.
#[must_use = "dropping it ends the registration"]
pub struct Registration {
    table: RoutingTable,
    key: Key,
}

/// By what a registration is found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Armed(Gsi, u64),
    Translated(u64),
}

impl Registration {
    /// Registers what is armed on a GSI. Returns whether its message is blocked as well.
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
                // It is the caller's, and may do anything when it is dropped.
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

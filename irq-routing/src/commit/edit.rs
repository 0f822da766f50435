// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Edit`]: one change of one GSI's route, and its outcome.

use crate::table::slots::LeaseId;
use crate::{Gsi, MsiMessage, Pins, Route};

/// How many edits the table keeps memory for between transactions: as many as devices change in a
/// steady state. More come when devices are brought up, where an allocation does not count.
pub(crate) const KEPT_EDITS: usize = 256;

/// One staged edit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Edit {
    pub(crate) gsi: Gsi,
    pub(crate) change: Change,
    /// What the kernel is given: the route after the table's translation.
    pub(crate) translated: Option<Route>,
    /// Its own outcome, where edits of one request may end differently.
    pub(crate) progress: EditProgress,
    /// The number of its owner. Edits of one owner are more likely to be refused together.
    pub(crate) owner: u64,
}

/// The outcome of one edit of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EditProgress {
    /// None yet: it shares the outcome of the request.
    Open,
    /// The kernel has the new route.
    Committed,
    /// A later edit of the same lease was committed before it.
    Superseded,
    /// The round had no ioctl left for it.
    NotTried,
    /// It was refused; the number is that of the reason.
    Failed(usize),
    /// The translation or the VM panicked for it.
    Panicked,
    /// Its message is blocked, and something armed on the GSI could not be disarmed. The old route
    /// stays.
    RouteHeld,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    /// The holder of this lease sets its route, or removes it.
    Lease(LeaseId, Option<Route>),
    /// The holder of this lease routes it to a message. Of several such edits the one with the
    /// greatest number was staged last.
    Message(LeaseId, u64, MsiMessage),
    /// The VM's wiring changes.
    Wiring(Option<Pins>),
    /// The route stays, and is translated again.
    Translation(Route),
}

impl Edit {
    pub(crate) fn new(gsi: Gsi, change: Change) -> Self {
        Self {
            gsi,
            change,
            translated: None,
            progress: EditProgress::Open,
            owner: 0,
        }
    }

    /// What the GSI is routed to afterwards.
    pub(crate) fn route(&self) -> Option<Route> {
        match self.change {
            Change::Lease(_, route) => route,
            Change::Message(_, _, message) => Some(Route::Msi(message)),
            Change::Wiring(pins) => pins.map(Route::Pins),
            Change::Translation(route) => Some(route),
        }
    }

    /// Its place among the message edits of its lease.
    pub(crate) fn number(&self) -> u64 {
        match self.change {
            Change::Message(_, number, _) => number,
            _ => 0,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.progress == EditProgress::Open
    }

    /// Whether there is a route and the kernel is to have no entry for it.
    pub(crate) fn is_blocked(&self) -> bool {
        self.translated.is_none() && self.route().is_some()
    }

    pub(crate) fn routes_to_pins(&self) -> bool {
        matches!(self.route(), Some(Route::Pins(_)))
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Edit`]: one change of one GSI's route, and what became of it.

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
    /// What the kernel is given: the route as the table's translation has it.
    pub(crate) translated: Option<Route>,
    /// What came of it, where that is another matter than what came of the request.
    pub(crate) progress: EditProgress,
    /// Whose it is. Edits of one owner are more likely to be refused together.
    pub(crate) owner: u64,
}

/// What came of one edit of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EditProgress {
    /// Nothing yet: it shares that of the request.
    Open,
    /// The kernel has what it says.
    Committed,
    /// A later edit under the same lease came before it.
    Superseded,
    /// The round had no ioctl left for it.
    NotTried,
    /// It was refused, for the reason of this number.
    Failed(usize),
    /// The translation or the VM panicked for it.
    Panicked,
    /// Its message is blocked, and something that is armed on the GSI does not go. The old route
    /// stays.
    RouteHeld,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    /// The holder of this lease leads it somewhere, or nowhere.
    Lease(LeaseId, Option<Route>),
    /// The holder of this lease leads it to a message. Of several such edits the one with the
    /// greatest number was staged last.
    Message(LeaseId, u64, MsiMessage),
    /// The machine's wiring changes.
    Wiring(Option<Pins>),
    /// The route stays, and is translated anew.
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

    /// Where the GSI leads afterwards.
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

    /// Whether the kernel is to have nothing for a route that there is.
    pub(crate) fn is_blocked(&self) -> bool {
        self.translated.is_none() && self.route().is_some()
    }

    pub(crate) fn routes_to_pins(&self) -> bool {
        matches!(self.route(), Some(Route::Pins(_)))
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Request`]: what one caller wants of the table, and what came of it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::slots::LeaseId;
use crate::{Error, Gsi, Pins, Route};

/// How many edits the table keeps memory for between transactions: as many as devices change in a
/// steady state. More come when devices are brought up, where an allocation does not count.
pub(crate) const KEPT_EDITS: usize = 256;

/// One staged edit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Edit {
    pub(crate) gsi: Gsi,
    pub(crate) change: Change,
    /// What the kernel is given: the route as the table's translation has it.
    pub(crate) given: Option<Route>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    /// The holder of this lease leads it somewhere, or nowhere.
    Lease(LeaseId, Option<Route>),
    /// The machine's wiring changes.
    Wiring(Option<Pins>),
    /// The route stays, and is translated anew.
    Translation(Route),
}

impl Edit {
    pub(crate) fn new(gsi: Gsi, change: Change) -> Self {
        let given = None;
        Self { gsi, change, given }
    }

    /// Where the GSI leads afterwards.
    pub(crate) fn route(&self) -> Option<Route> {
        match self.change {
            Change::Lease(_, route) => route,
            Change::Wiring(pins) => pins.map(Route::Pins),
            Change::Translation(route) => Some(route),
        }
    }

    pub(crate) fn leads_to_pins(&self) -> bool {
        matches!(self.route(), Some(Route::Pins(_)))
    }
}

/// When a request needs an ioctl.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demand {
    /// If its edits change something.
    Edits,
    /// If dropped leases left routes behind.
    Flush,
    /// As [`Flush`](Self::Flush): the GSI is driven from then on, and a route that was left behind may lead to
    /// one of its pins.
    Drive(Gsi),
    /// In any case.
    Recommit,
    /// If the translation of a route has changed.
    Retranslate,
}

/// Why a request has failed.
#[derive(Debug)]
pub(crate) enum Failure {
    Error(Error),
    /// The translation or the VM panicked. The panic goes on in the caller of the request.
    Panic(Box<dyn Any + Send>),
}

/// Calls the translation or the VM, whose panic must reach no other caller than the guilty one.
pub(crate) fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(call)).map_err(Failure::Panic)
}

/// Drops a failure that no caller gets. What the translation or the VM has put into it may panic there, too.
pub(crate) fn discard<T>(failure: T) {
    if let Err(panic) = guarded(|| drop(failure)) {
        std::mem::forget(panic);
    }
}

#[derive(Debug)]
pub(crate) struct Request {
    /// By which the caller finds it again.
    pub(crate) ticket: u64,
    pub(crate) demand: Demand,
    pub(crate) edits: Vec<Edit>,
    pub(crate) outcome: Option<Result<(), Failure>>,
}

/// A request that was carried out, until its caller comes for it.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) ticket: u64,
    /// For their memory, or to be committed again.
    pub(crate) edits: Vec<Edit>,
    pub(crate) result: Result<(), Failure>,
}

impl Request {
    pub(crate) fn finish(self, result: Result<(), Failure>) -> Finished {
        Finished {
            ticket: self.ticket,
            edits: self.edits,
            result,
        }
    }

    /// Whether it leads a GSI to pins, or keeps others from those of a GSI.
    pub(crate) fn concerns_pins(&self) -> bool {
        self.is_drive() || self.edits.iter().any(Edit::leads_to_pins)
    }

    pub(crate) fn is_drive(&self) -> bool {
        matches!(self.demand, Demand::Drive(_))
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.outcome.is_none()
    }

    /// Whether the kernel has what the edits say.
    pub(crate) fn took_effect(&self) -> bool {
        matches!(
            self.outcome,
            Some(Ok(()) | Err(Failure::Error(Error::Untranslated { .. })))
        )
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Request`]: what one caller wants of the table, and what came of it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use crate::slots::LeaseId;
use crate::{Error, Gsi, MsiMessage, Pins, Route};

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
    /// What came of it, where that is another matter than what came of the request.
    pub(crate) fate: Fate,
    /// Whose it is. Edits of one owner are more likely to be refused together.
    pub(crate) owner: u64,
}

/// What came of one edit of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing yet: it shares that of the request.
    Open,
    /// The kernel has what it says.
    Done,
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
    Held,
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
            given: None,
            fate: Fate::Open,
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
        self.fate == Fate::Open
    }

    /// Whether the kernel is to have nothing for a route that there is.
    pub(crate) fn is_blocked(&self) -> bool {
        self.given.is_none() && self.route().is_some()
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
    /// The same, and each edit stands for itself.
    Each,
    /// If dropped leases left routes behind.
    Flush,
    /// As [`Flush`](Self::Flush): the GSI is driven from then on, and a route that was left behind
    /// may lead to one of its pins.
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
    Panic(Panic),
}

pub(crate) type Panic = Box<dyn Any + Send>;

impl Failure {
    /// Whether one edit of many may be the cause, so that the others are to be tried without it.
    pub(crate) fn is_of_one(&self) -> bool {
        match self {
            Self::Panic(_) => true,
            Self::Error(error) => {
                matches!(error, Error::Refused { .. } | Error::TableFull { .. })
                    && !error.is_transient()
            }
        }
    }
}

/// Calls the translation or the VM, whose panic must reach no other caller than the guilty one.
pub(crate) fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(call)).map_err(Failure::Panic)
}

/// Drops a failure that no caller gets. What the translation or the VM has put into it may panic
/// there, too.
pub(crate) fn discard<T>(failure: T) {
    if let Err(panic) = guarded(|| drop(failure)) {
        std::mem::forget(panic);
    }
}

/// Gives a failure to the caller.
pub(crate) fn unwind(failure: Failure) -> Result<(), Error> {
    match failure {
        Failure::Error(error) => Err(error),
        Failure::Panic(payload) => resume_unwind(payload),
    }
}

#[derive(Debug)]
pub(crate) struct Request {
    /// By which the caller finds it again.
    pub(crate) ticket: u64,
    pub(crate) demand: Demand,
    pub(crate) edits: Vec<Edit>,
    /// Why edits that stand for themselves were refused, by the number in their [`Fate`].
    pub(crate) reasons: Vec<Arc<Error>>,
    /// The first panic for an edit that stands for itself.
    pub(crate) panic: Option<Panic>,
    pub(crate) outcome: Option<Result<(), Failure>>,
}

/// A request that was carried out, until its caller comes for it.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) ticket: u64,
    /// For their memory, or to be committed again.
    pub(crate) edits: Vec<Edit>,
    pub(crate) reasons: Vec<Arc<Error>>,
    pub(crate) panic: Option<Panic>,
    pub(crate) result: Result<(), Failure>,
}

impl Request {
    pub(crate) fn new(ticket: u64, demand: Demand, edits: Vec<Edit>) -> Self {
        Self {
            ticket,
            demand,
            edits,
            reasons: Vec::new(),
            panic: None,
            outcome: None,
        }
    }

    pub(crate) fn finish(self, result: Result<(), Failure>) -> Finished {
        Finished {
            ticket: self.ticket,
            edits: self.edits,
            reasons: self.reasons,
            panic: self.panic,
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

    /// Its edits that are still to be tried.
    pub(crate) fn open_edits(&self) -> impl Iterator<Item = &Edit> + Clone {
        self.edits.iter().filter(|edit| edit.is_open())
    }

    /// The edits of which the kernel has what they say.
    pub(crate) fn effective(&self) -> impl Iterator<Item = &Edit> {
        let all = match (&self.outcome, self.demand) {
            (_, Demand::Each) => false,
            (Some(Ok(()) | Err(Failure::Error(Error::Untranslated { .. }))), _) => true,
            _ => false,
        };
        let is = move |edit: &&Edit| edit.fate == Fate::Done || all && edit.is_open();
        self.edits.iter().filter(is)
    }

    /// Ends edits that stand for themselves, all those that are open.
    pub(crate) fn end_open(&mut self, failure: Result<(), Failure>) {
        let fate = match failure {
            Ok(()) => Fate::Done,
            Err(failure) => self.fate_of(failure),
        };
        self.end_open_with(fate);
    }

    pub(crate) fn end_open_with(&mut self, fate: Fate) {
        let open = self.edits.iter_mut().filter(|edit| edit.is_open());
        open.for_each(|edit| edit.fate = fate);
    }

    /// Remembers why an edit fails.
    pub(crate) fn fate_of(&mut self, failure: Failure) -> Fate {
        match failure {
            Failure::Error(error) => {
                self.reasons.push(Arc::new(error));
                Fate::Failed(self.reasons.len() - 1)
            }
            Failure::Panic(panic) => {
                match self.panic {
                    None => self.panic = Some(panic),
                    Some(_) => discard(panic),
                }
                Fate::Panicked
            }
        }
    }
}

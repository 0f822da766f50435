// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Request`]: one call of one caller, and its result.

use std::sync::Arc;

use super::edit::{Edit, EditProgress};
use super::failure::{Failure, Panic, discard};
use crate::{Error, Gsi};

/// When a request needs an ioctl.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestKind {
    /// If its edits change something: all of them, or none.
    Transaction,
    /// The same, but each edit succeeds or fails alone.
    Each,
    /// If dropped leases left routes behind.
    Flush,
    /// As [`Flush`](Self::Flush): the GSI is driven from then on, and a route that was left behind
    /// may be to one of its pins.
    Drive(Gsi),
    /// In any case.
    Recommit,
    /// If the translation of a route has changed.
    Retranslate,
}

#[derive(Debug)]
pub(crate) struct Request {
    /// By which the caller finds its result.
    pub(crate) ticket: u64,
    pub(crate) kind: RequestKind,
    pub(crate) edits: Vec<Edit>,
    /// Why independent edits were refused, by the number in their [`EditProgress`].
    pub(crate) reasons: Vec<Arc<Error>>,
    /// The first panic for an independent edit.
    pub(crate) panic: Option<Panic>,
    pub(crate) outcome: Option<Result<(), Failure>>,
}

/// A request that was carried out, until its caller takes the result.
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
    pub(crate) fn new(ticket: u64, kind: RequestKind, edits: Vec<Edit>) -> Self {
        Self {
            ticket,
            kind,
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

    /// Whether it routes a GSI to pins, or takes the pins of a GSI for exclusive use.
    pub(crate) fn concerns_pins(&self) -> bool {
        self.is_drive() || self.edits.iter().any(Edit::routes_to_pins)
    }

    pub(crate) fn is_drive(&self) -> bool {
        matches!(self.kind, RequestKind::Drive(_))
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.outcome.is_none()
    }

    /// Its edits that are still to be tried.
    pub(crate) fn open_edits(&self) -> impl Iterator<Item = &Edit> + Clone {
        self.edits.iter().filter(|edit| edit.is_open())
    }

    /// The edits whose new route the kernel has.
    pub(crate) fn edits_in_force(&self) -> impl Iterator<Item = &Edit> {
        let all = match (&self.outcome, self.kind) {
            (_, RequestKind::Each) => false,
            (Some(Ok(()) | Err(Failure::Error(Error::Untranslated { .. }))), _) => true,
            _ => false,
        };
        let is =
            move |edit: &&Edit| edit.progress == EditProgress::Committed || all && edit.is_open();
        self.edits.iter().filter(is)
    }

    /// Ends all open edits of a request of independent edits.
    pub(crate) fn finish_open_edits(&mut self, failure: Result<(), Failure>) {
        let progress = match failure {
            Ok(()) => EditProgress::Committed,
            Err(failure) => self.record_failure(failure),
        };
        self.mark_open_edits(progress);
    }

    pub(crate) fn mark_open_edits(&mut self, progress: EditProgress) {
        let open = self.edits.iter_mut().filter(|edit| edit.is_open());
        open.for_each(|edit| edit.progress = progress);
    }

    /// Remembers why an edit fails.
    pub(crate) fn record_failure(&mut self, failure: Failure) -> EditProgress {
        match failure {
            Failure::Error(error) => {
                self.reasons.push(Arc::new(error));
                EditProgress::Failed(self.reasons.len() - 1)
            }
            Failure::Panic(panic) => {
                match self.panic {
                    None => self.panic = Some(panic),
                    Some(_) => discard(panic),
                }
                EditProgress::Panicked
            }
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Request`]: what one caller wants of the table, and what came of it.

use std::sync::Arc;

use super::edit::{Edit, EditProgress};
use super::failure::{Failure, Panic, discard};
use crate::{Error, Gsi};

/// When a request needs an ioctl.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestKind {
    /// If its edits change something: all of them, or none.
    Transaction,
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

#[derive(Debug)]
pub(crate) struct Request {
    /// By which the caller finds it again.
    pub(crate) ticket: u64,
    pub(crate) kind: RequestKind,
    pub(crate) edits: Vec<Edit>,
    /// Why edits that stand for themselves were refused, by the number in their [`EditProgress`].
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

    /// Whether it leads a GSI to pins, or keeps others from those of a GSI.
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

    /// The edits of which the kernel has what they say.
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

    /// Ends edits that stand for themselves, all those that are open.
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

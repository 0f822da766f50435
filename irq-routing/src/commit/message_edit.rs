// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`RoutingTable::commit_each`]: independent edits, committed together.

use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;

use crate::commit::edit::{Edit, EditProgress};
use crate::commit::failure::Failure;
use crate::commit::request::RequestKind;
use crate::{Error, RoutingTable};

/// A staged edit that routes a leased GSI to a message; see
/// [`GsiLease::edit`](crate::GsiLease::edit).
#[derive(Debug, Clone, Copy)]
#[must_use = "an edit does nothing until it is committed"]
pub struct MessageEdit(pub(crate) Edit);

impl MessageEdit {
    /// Sets the owner: a device, by a number that the caller chooses (default: 0).
    pub fn owned_by(mut self, owner: u64) -> Self {
        self.0.owner = owner;
        self
    }
}

/// The outcome of a [`MessageEdit`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EditOutcome {
    /// The kernel has the message, after the table's translation.
    Committed,
    /// The translation blocks the message. The kernel has no route for the GSI until
    /// [`RoutingTable::retranslate`] or another commit finds a translation.
    Blocked,
    /// A later edit of the same lease was committed before it or in the same call, even if that one
    /// failed; or the same edit occurs twice in a call. Nothing has changed.
    Superseded,
    /// The kernel refused so many edits that the limit of ioctls was reached before this one.
    /// Nothing has changed. Commit it again, in front of others.
    NotTried,
    /// The edit was refused, or the whole table. Nothing has changed.
    Failed(Arc<Error>),
    /// The translation or the VM panicked for this edit. Nothing has changed.
    Panicked,
}

impl fmt::Display for EditOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Committed => "committed",
            Self::Blocked => "blocked by the translation",
            Self::Superseded => "superseded by a later edit",
            Self::NotTried => "not tried: the round was at its limit of ioctls",
            Self::Failed(error) => return error.fmt(f),
            Self::Panicked => "the translation or the VM panicked",
        })
    }
}

impl RoutingTable {
    /// Commits independent edits with one ioctl; an edit that is refused fails alone.
    ///
    /// `report` is called for each edit with its index and its outcome: on this thread, in the
    /// order of the edits, while no lock is held. Like
    /// [`Transaction::commit`](crate::Transaction::commit) this blocks while the kernel takes a
    /// table.
    ///
    /// If the kernel's table has too few entries, even after all parked leases were taken back
    /// ([`GsiLease::park`](crate::GsiLease::park)), only those edits fail for which no entry is
    /// left ([`Error::TableFull`]).
    ///
    /// If nothing changes there is no ioctl. If the kernel refuses an edit by a rule that is known,
    /// the call costs two ioctls. (The known rule: with 32-bit APIC ids, KVM_CAP_X2APIC_API, bits
    /// 32 to 39 of an address must be zero.) Otherwise it costs at most 16, and edits that were not
    /// tried by then are [`NotTried`](EditOutcome::NotTried). The search separates
    /// [owners](MessageEdit::owned_by) first, so put the edits of one owner side by side. Commits
    /// of other callers are not affected.
    ///
    /// # Panics
    ///
    /// If the table's translation or the VM panics for one of the edits. All outcomes have been
    /// reported by then.
    pub fn commit_each(
        &self,
        edits: impl IntoIterator<Item = MessageEdit>,
        mut report: impl FnMut(usize, EditOutcome),
    ) {
        let edits = edits.into_iter();
        let mut staged = std::mem::take(&mut self.lock().spare_edits);
        let most = edits.size_hint().1.unwrap_or(0).min(self.limit() as usize);
        // If that fails, `extend` allocates as it goes.
        let _ = staged.try_reserve(most);
        staged.extend(edits.map(|edit| edit.0));
        if staged.is_empty() {
            return self.recycle(staged);
        }
        let finished = self.shared().queue_and_wait(RequestKind::Each, staged);
        for (index, edit) in finished.edits.iter().enumerate() {
            let outcome = edit.outcome(&finished.reasons, &finished.result);
            if let EditOutcome::Failed(error) = &outcome {
                self.observe(|observer| observer.commit_refused(error));
            }
            report(index, outcome);
        }
        self.recycle(finished.edits);
        if let Some(panic) = finished.panic {
            resume_unwind(panic);
        }
    }
}

impl Edit {
    fn outcome(&self, reasons: &[Arc<Error>], result: &Result<(), Failure>) -> EditOutcome {
        match self.progress {
            EditProgress::Superseded => EditOutcome::Superseded,
            EditProgress::NotTried => EditOutcome::NotTried,
            EditProgress::Failed(reason) => match reasons.get(reason) {
                Some(reason) => EditOutcome::Failed(Arc::clone(reason)),
                // Not reached.
                None => EditOutcome::NotTried,
            },
            EditProgress::Panicked => EditOutcome::Panicked,
            EditProgress::RouteHeld => {
                EditOutcome::Failed(Arc::new(Error::RouteHeld { gsi: self.gsi }))
            }
            EditProgress::Open if result.is_err() => EditOutcome::Panicked,
            EditProgress::Open | EditProgress::Committed if self.translated.is_none() => {
                EditOutcome::Blocked
            }
            EditProgress::Open | EditProgress::Committed => EditOutcome::Committed,
        }
    }
}

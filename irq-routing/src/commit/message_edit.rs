// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`RoutingTable::commit_each`]: edits that stand for themselves.

use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;

use crate::commit::edit::{Edit, EditProgress};
use crate::commit::failure::Failure;
use crate::commit::request::RequestKind;
use crate::{Error, RoutingTable};

/// An edit that leads a leased GSI to a message, see [`GsiLease::edit`](crate::GsiLease::edit).
#[derive(Debug, Clone, Copy)]
#[must_use = "an edit does nothing until it is committed"]
pub struct MessageEdit(pub(crate) Edit);

impl MessageEdit {
    /// Says whose it is: a device, by a number that the caller chooses.
    pub fn owned_by(mut self, owner: u64) -> Self {
        self.0.owner = owner;
        self
    }
}

/// What came of a [`MessageEdit`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EditOutcome {
    /// The kernel has the message, as the table's translation has it.
    Committed,
    /// The translation lets the message through nowhere. The kernel has no route for the GSI, until
    /// [`RoutingTable::retranslate`] or another commit finds a translation.
    Blocked,
    /// An edit that was staged later under the same lease was met before it, or in the same call,
    /// even if that one failed; or the same edit came twice in a call. Nothing has changed.
    Superseded,
    /// The round was at its limit of ioctls, since the kernel had refused so many of its edits.
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
    /// Commits edits that stand for themselves, all with one ioctl if the kernel takes them all. If
    /// it refuses some, these alone fail. `report` is called for each edit with its index and what
    /// came of it, on this thread, in the order of the edits, and without a lock.
    ///
    /// If the kernel's table has too few entries, even after all parked leases were taken back
    /// ([`GsiLease::park`](crate::GsiLease::park)), only those edits fail for which no entry is
    /// left ([`Error::TableFull`]).
    ///
    /// If nothing changes there is no ioctl. A round in which the kernel refuses edits costs two,
    /// if it does so by a rule that is known (with 32-bit APIC ids, KVM_CAP_X2APIC_API, bits 32 to
    /// 39 of an address must be zero). Otherwise it costs 16 at most, and what was not tried by
    /// then is [`NotTried`](EditOutcome::NotTried). Edits of different
    /// [owners](MessageEdit::owned_by) are told apart first, so those of one owner should stand
    /// side by side. What other callers commit at the same time is not affected.
    ///
    /// # Panics
    ///
    /// If the table's translation or the VM panics for one of the edits. All outcomes have been
    /// reported then.
    pub fn commit_each(
        &self,
        edits: impl IntoIterator<Item = MessageEdit>,
        mut report: impl FnMut(usize, EditOutcome),
    ) {
        let edits = edits.into_iter();
        let mut staged = std::mem::take(&mut self.lock().spare_edits);
        let most = edits.size_hint().1.unwrap_or(0).min(self.limit() as usize);
        // They take what they need, one by one, where there is not so much memory.
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

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The search for messages whose new translation the kernel refuses, or for which it has no entry.

use std::io;

use notify_core::SysError;

use crate::commit::edit::{Edit, EditProgress};
use crate::commit::failure::Failure;
use crate::commit::kernel::{Callbacks, KernelTable};
use crate::commit::request::RequestKind;
use crate::{Error, Gsi};

impl KernelTable {
    /// After all have failed together: gives the kernel the new translations that it takes.
    /// Messages whose translation it refuses are blocked, because the old ones must not stay in
    /// force.
    pub(crate) fn translate_all_but_refused(
        &mut self,
        callbacks: &Callbacks<'_>,
        edits: &mut [Edit],
        failure: Failure,
    ) -> Result<(), Failure> {
        let mut blocked = Vec::new();
        let cause = self.translate_halves(callbacks, edits, failure, &mut blocked)?;
        match blocked.is_empty() {
            // The kernel has taken both halves of what it had refused as a whole.
            true => Ok(()),
            false => Err(Failure::Error(Error::Untranslated { blocked, cause })),
        }
    }

    /// Returns why the edits as a whole were refused.
    fn translate_halves(
        &mut self,
        callbacks: &Callbacks<'_>,
        edits: &mut [Edit],
        failure: Failure,
        blocked: &mut Vec<Gsi>,
    ) -> Result<SysError, Failure> {
        // Any other failure has nothing to do with the messages, and without one there is none to
        // block.
        let cause = match failure {
            Failure::Error(Error::Refused { cause, .. })
                if cause.kind() == io::ErrorKind::InvalidInput && !edits.is_empty() =>
            {
                cause
            }
            // Messages that were blocked are let through now, and need entries. The others must
            // not keep their old translation because of these.
            Failure::Error(Error::TableFull { .. }) if !edits.is_empty() => {
                io::Error::from_raw_os_error(libc::ENOSPC).into()
            }
            failure => return Err(failure),
        };
        let kind = || std::iter::once(RequestKind::Retranslate);
        if let [edit] = edits {
            // Its lease was taken back in this round: there is no message to block.
            if self.is_taken_back(edit) {
                return Ok(cause);
            }
            if !self.has_entry(edit.gsi) || (callbacks.disarm)(edit.gsi) {
                edit.translated = None;
                blocked.push(edit.gsi);
                self.try_edits(callbacks, kind(), std::iter::once(&*edit))?;
            } else {
                edit.progress = EditProgress::RouteHeld;
            }
            return Ok(cause);
        }
        let (first, second) = edits.split_at_mut(edits.len() / 2);
        for half in [first, second] {
            let open = half.iter().filter(|edit| edit.is_open());
            if let Err(failure) = self.try_edits(callbacks, kind(), open) {
                self.translate_halves(callbacks, half, failure, blocked)?;
            }
        }
        Ok(cause)
    }
}

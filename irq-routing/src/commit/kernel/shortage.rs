// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Too few entries in the kernel's table: which routes are removed for the edits, and which edits
//! fail.

use std::ops::Range;

use crate::commit::edit::Edit;
use crate::commit::failure::Failure;
use crate::commit::kernel::{Callbacks, KernelTable};
use crate::commit::request::Request;
use crate::{Error, Route};

impl KernelTable {
    /// If the table has too many entries, removes those of parked leases. These stay taken back if
    /// the kernel then refuses the table; the next table is without their entries.
    pub(crate) fn make_room(&mut self, callbacks: &Callbacks<'_>) -> Result<(), Failure> {
        let (entries, limit) = (self.entries.buffer().len(), self.limit);
        let excess = entries.saturating_sub(limit as usize);
        if excess == 0 {
            return Ok(());
        }
        match (callbacks.make_room)(excess, &|gsi| self.entries.count(gsi)) {
            Ok(going) => {
                for gsi in going {
                    self.entries.set(gsi, None);
                    self.stale.insert(gsi.index());
                    self.taken_back.insert(gsi.index());
                }
                self.entries.lay_out_pins();
                Ok(())
            }
            Err(freed) => {
                let entries = entries - freed;
                Err(Failure::Error(Error::TableFull { entries, limit }))
            }
        }
    }

    /// The open edits of a part need `excess` more entries than there are. Returns the end of the
    /// first ones that fit, or `None` if no entry is left.
    pub(crate) fn fitting(
        &self,
        request: &Request,
        part: &Range<usize>,
        excess: usize,
    ) -> Option<usize> {
        let edits = request.edits.get(part.clone()).unwrap_or_default();
        let growth = edits.iter().enumerate();
        let growth = growth.filter(|(_, edit)| edit.is_open());
        let growth = growth.map(|(place, edit)| (part.start + place, self.growth(edit)));
        let all: isize = growth.clone().map(|(_, growth)| growth).sum();
        let left = all.saturating_sub_unsigned(excess);
        let mut used = 0;
        let mut growth = growth.filter(|_| left > 0);
        let mut exceeds = |growth: isize| {
            used += growth;
            used > left
        };
        growth.find_map(|(place, growth)| exceeds(growth).then_some(place))
    }

    /// No entry is left for the open edits of a part, except those that some of them give up. Fails
    /// the edits that need more than that.
    pub(crate) fn fail_excess(&self, request: &mut Request, part: &Range<usize>, failure: Failure) {
        let progress = request.record_failure(failure);
        let edits = request.edits.get_mut(part.clone()).unwrap_or_default();
        let open = edits.iter().filter(|edit| edit.is_open());
        let given_up = open.map(|edit| self.growth(edit).min(0)).sum::<isize>();
        let mut left = -given_up;
        for edit in edits.iter_mut().filter(|edit| edit.is_open()) {
            let growth = self.growth(edit).max(0);
            if growth > left {
                edit.progress = progress;
            } else {
                left -= growth;
            }
        }
    }

    /// How many more entries the kernel's table has after an edit.
    fn growth(&self, edit: &Edit) -> isize {
        // The entry of a dropped lease is removed in any case.
        let before = match self.stale.contains(edit.gsi.index()) {
            true => 0,
            false => self.entries.count(edit.gsi),
        };
        let after = match edit.translated {
            None => 0,
            Some(Route::Pins(pins)) => pins.iter().count(),
            Some(_) => 1,
        };
        after.cast_signed() - before.cast_signed()
    }
}

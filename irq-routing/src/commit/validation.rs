// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What is refused before a round: edits that break a rule of the table, and edits that a later
//! edit of the same lease has superseded.

use super::edit::{Change, Edit, EditProgress};
use super::failure::Failure;
use super::request::{Request, RequestKind};
use crate::table::slots::Slot;
use crate::table::state::State;
use crate::{Error, Gsi, Pins, Route};

impl State {
    /// Validates a request, and marks the GSIs that it is about to change.
    pub(super) fn validate_request(&mut self, request: &mut Request) -> Result<(), Error> {
        if request.kind == RequestKind::Retranslate {
            let routes = self.slots.routes();
            let messages = routes.filter(|(_, route)| matches!(route, Route::Msi(_)));
            let edit = |(gsi, route)| Edit::new(gsi, Change::Translation(route));
            request.edits.extend(messages.map(edit));
            return Ok(());
        }
        if let RequestKind::Drive(gsi) = request.kind {
            self.validate_drive(gsi)?;
            // Without pins, no route that was left behind can be to one of them.
            if !matches!(self.slots.get(gsi).route(), Some(Route::Pins(_))) {
                request.outcome = Some(Ok(()));
            }
            return Ok(());
        }
        if request.kind == RequestKind::Each {
            self.validate_each(request);
            return Ok(());
        }
        self.keep_last_of_each_gsi(&mut request.edits)?;
        request
            .edits
            .iter()
            .try_for_each(|edit| self.validate(edit))?;
        self.validate_driven(&request.edits)?;
        for edit in &mut request.edits {
            // An earlier commit of it may have failed.
            edit.progress = EditProgress::Open;
            self.slots.unsettle(edit.gsi);
        }
        Ok(())
    }

    /// The same for independent edits.
    fn validate_each(&mut self, request: &mut Request) {
        self.supersede_older_edits(request);
        for edit in request.open_edits() {
            self.slots.unsettle(edit.gsi);
        }
    }

    /// Leaves open the edits that are valid and the last staged of their leases.
    pub(crate) fn supersede_older_edits(&mut self, request: &mut Request) {
        let mut edits = std::mem::take(&mut request.edits);
        for edit in &mut edits {
            edit.progress = match self.is_in_range(edit).and_then(|()| self.validate(edit)) {
                Ok(()) => {
                    self.slots.note_edit(edit.gsi, edit.number());
                    EditProgress::Superseded
                }
                Err(error) => request.record_failure(Failure::Error(error)),
            };
        }
        // If an edit occurs twice, the second one counts.
        for edit in edits.iter_mut().rev() {
            let is_newest = edit.progress == EditProgress::Superseded
                && self.slots.is_newest(edit.gsi, edit.number())
                && !self.seen.put(edit.gsi.index());
            if is_newest {
                edit.progress = EditProgress::Open;
            }
        }
        self.seen.clear();
        request.edits = edits;
    }

    fn keep_last_of_each_gsi(&mut self, edits: &mut Vec<Edit>) -> Result<(), Error> {
        edits.iter().try_for_each(|edit| self.is_in_range(edit))?;
        edits.reverse();
        edits.retain(|edit| !self.seen.put(edit.gsi.index()));
        edits.reverse();
        self.seen.clear();
        Ok(())
    }

    /// A GSI that is out of range comes from the table of a VM with more GSIs.
    fn is_in_range(&self, edit: &Edit) -> Result<(), Error> {
        let (gsi, limit) = (edit.gsi.number(), self.slots.limit());
        match gsi < limit {
            true => Ok(()),
            false => Err(Error::GsiOutOfRange { gsi, limit }),
        }
    }

    fn validate(&self, edit: &Edit) -> Result<(), Error> {
        let gsi = edit.gsi;
        let slot = self.slots.get(gsi);
        match (edit.change, slot) {
            (Change::Lease(id, _) | Change::Message(id, ..), slot) if slot.lease() == Some(id) => {}
            (Change::Lease(..) | Change::Message(..), _) => return Err(Error::NotLeased { gsi }),
            (Change::Wiring(_), Slot::Free | Slot::Wired { .. }) | (Change::Translation(_), _) => {}
            (Change::Wiring(_), _) => return Err(Error::GsiInUse { gsi }),
        }
        match edit.route() {
            None if slot.lines() > 0 => Err(Error::RouteHeld { gsi }),
            Some(Route::Pins(pins)) => self.validate_pins(gsi, pins),
            _ => Ok(()),
        }
    }

    fn validate_pins(&self, gsi: Gsi, pins: Pins) -> Result<(), Error> {
        let platform = self.platform;
        let mut chips = pins.iter().map(|pin| pin.chip());
        match chips.find(|chip| !chip.is_in(platform)) {
            Some(chip) => Err(Error::NoSuchChip {
                gsi,
                chip,
                platform,
            }),
            None => Ok(()),
        }
    }
}

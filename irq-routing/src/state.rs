// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`State`]: everything behind the table's lock.

use std::collections::BTreeSet;
use std::sync::Arc;

use fixedbitset::FixedBitSet;

use crate::armed::Registered;
use crate::engine::Engine;
use crate::request::{Change, Demand, Edit, Failure, Fate, Finished, Request};
use crate::slots::{LeaseId, Slot, Slots};
use crate::{Armed, Error, Gsi, Pins, Platform, Route};

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) slots: Slots,
    /// Which chips the pins of a route may be of.
    pub(crate) platform: Platform,
    /// GSIs whose pins belong to nobody else; see [`DrivenLine`](crate::DrivenLine).
    pub(crate) driven: BTreeSet<Gsi>,
    /// Whether the kernel's table is ours.
    committed: bool,
    /// Whether the kernel has ever taken a table of ours.
    pub(crate) was_committed: bool,
    /// GSIs that were given back while the kernel still had their route.
    pub(crate) stale: FixedBitSet,
    /// GSIs whose route is not in the kernel, since its translation let nothing through.
    blocked: FixedBitSet,
    /// GSIs that the edits of a request have met; empty in between.
    met: FixedBitSet,
    /// What waits for the next round.
    queue: Vec<Request>,
    /// What was carried out, until its caller comes for it.
    done: Vec<Finished>,
    /// Absent while a round is under way.
    pub(crate) engine: Option<Box<Engine>>,
    tickets: u64,
    pub(crate) registered: Registered,
    /// The memory of a round's requests, for the next.
    spare_requests: Vec<Request>,
    /// The memory of the last transaction, for the next.
    pub(crate) spare_edits: Vec<Edit>,
}

impl State {
    pub(crate) fn new(slots: Slots) -> Self {
        let limit = slots.limit();
        Self {
            slots,
            platform: Platform::default(),
            driven: BTreeSet::new(),
            committed: false,
            was_committed: false,
            stale: FixedBitSet::with_capacity(limit as usize),
            blocked: FixedBitSet::with_capacity(limit as usize),
            met: FixedBitSet::with_capacity(limit as usize),
            queue: Vec::new(),
            done: Vec::new(),
            engine: Some(Box::new(Engine::new(limit))),
            registered: Registered::default(),
            tickets: 0,
            spare_requests: Vec::new(),
            spare_edits: Vec::new(),
        }
    }

    /// Gives a lease's GSI back. Its route stays in the kernel until the next commit: nothing is
    /// armed on it any more, and nobody can arm something before it is routed anew.
    pub(crate) fn release(&mut self, gsi: Gsi, lease: LeaseId) {
        match self.slots.get(gsi) {
            Slot::Leased { id, route, .. } | Slot::Parked { id, route, .. } if id == lease => {
                self.slots.put(gsi, Slot::Free);
                if route.is_some() {
                    self.stale.insert(gsi.index());
                }
            }
            // It was taken back, is in quarantine, or was left to an owner, who may have claimed it
            // already.
            _ => {}
        }
    }

    /// Keeps a lease's GSI out of use, and its route where it is.
    pub(crate) fn quarantine(&mut self, gsi: Gsi) {
        if let Slot::Leased { route, .. } = self.slots.get(gsi) {
            self.slots.put(gsi, Slot::Quarantined(route));
        }
    }

    /// Keeps a lease's GSI, and its route, until somebody claims it.
    pub(crate) fn leave_unclaimed(&mut self, gsi: Gsi) {
        if let Slot::Leased { route, .. } = self.slots.get(gsi) {
            self.slots.put(gsi, Slot::Unclaimed(route));
        }
    }

    /// Queues a request, and answers with its ticket.
    pub(crate) fn enqueue(&mut self, demand: Demand, edits: Vec<Edit>) -> u64 {
        self.tickets += 1;
        let ticket = self.tickets;
        self.queue.push(Request::new(ticket, demand, edits));
        ticket
    }

    /// What came of a request, once it is carried out.
    pub(crate) fn collect(&mut self, ticket: u64) -> Option<Finished> {
        let found = |finished: &Finished| finished.ticket == ticket;
        let index = self.done.iter().position(found)?;
        Some(self.done.swap_remove(index))
    }

    /// Hands out the engine and what waits, as far as it is valid, unless another thread has the
    /// engine.
    pub(crate) fn begin_round(&mut self) -> Option<(Box<Engine>, Vec<Request>)> {
        let mut engine = self.engine.take()?;
        engine.stale.union_with(&self.stale);
        self.stale.clear();
        let mut waiting = std::mem::take(&mut self.queue);
        let mut requests = std::mem::take(&mut self.spare_requests);
        for mut request in waiting.drain(..self.together(&waiting)) {
            match self.prepare(&mut request) {
                Ok(()) => requests.push(request),
                Err(error) => {
                    let failed = Err(Failure::Error(error));
                    self.done.push(request.finish(failed));
                }
            }
        }
        self.queue = waiting; // with its memory
        Some((engine, requests))
    }

    /// Marks a GSI as blocked whose entry is about to go, so that nothing is armed there from now
    /// on. Returns whether the entry may go once everything that is armed there, which is returned
    /// too, has been disarmed. The caller drops that without the lock.
    pub(crate) fn block(&mut self, gsi: Gsi) -> (bool, Vec<Arc<dyn Armed>>) {
        let slot = self.slots.get(gsi);
        let (armed, all) = self.registered.armed(gsi, slot.lease());
        let known = all && u32::try_from(armed.len()).is_ok_and(|count| count >= slot.lines());
        let may_go = !matches!(slot, Slot::Quarantined(_)) && (slot.lines() == 0 || known);
        if may_go {
            self.blocked.insert(gsi.index());
        }
        (may_go, armed)
    }

    /// Enters what was carried out. Returns what is to be armed again.
    pub(crate) fn enter(&mut self, engine: &Engine, requests: &[Request]) -> Vec<Arc<dyn Armed>> {
        for request in requests {
            for edit in request.effective() {
                self.take_over(edit);
                if edit.is_blocked() {
                    self.blocked.insert(edit.gsi.index());
                }
            }
            if let (Demand::Drive(gsi), Some(Ok(()))) = (request.demand, &request.outcome) {
                self.driven.insert(gsi);
            }
        }
        self.slots.settle();
        self.unblock(engine)
    }

    /// Removes the marks of GSIs that are blocked no more. Returns what is registered for those
    /// that have a route. After a panic of the VM the marks stay until the kernel's table is known
    /// again.
    fn unblock(&mut self, engine: &Engine) -> Vec<Arc<dyn Armed>> {
        let mut unblocked = Vec::new();
        if !engine.is_known() {
            return unblocked;
        }
        for index in self.blocked.ones() {
            let gsi = self.slots.gsi(index);
            let routed = gsi.filter(|gsi| self.slots.get(*gsi).route().is_some());
            if routed.is_some_and(|gsi| !engine.has_entry(gsi)) {
                continue;
            }
            self.met.insert(index);
            unblocked.extend(
                routed
                    .into_iter()
                    .flat_map(|gsi| self.registered.armed(gsi, self.slots.get(gsi).lease()).0),
            );
        }
        self.blocked.difference_with(&self.met);
        self.met.clear();
        unblocked
    }

    /// Takes back what [`begin_round`](Self::begin_round) has handed out, when it was entered.
    pub(crate) fn end_round(&mut self, engine: Box<Engine>, mut requests: Vec<Request>) {
        for mut request in requests.drain(..) {
            if let Some(result) = request.outcome.take() {
                self.done.push(request.finish(result));
            }
        }
        self.spare_requests = requests;
        self.committed = engine.is_committed();
        self.was_committed = engine.was_committed;
        self.engine = Some(engine);
    }

    /// Validates a request, and marks the GSIs that it is about to change.
    fn prepare(&mut self, request: &mut Request) -> Result<(), Error> {
        if request.demand == Demand::Retranslate {
            let routes = self.slots.routes();
            let messages = routes.filter(|(_, route)| matches!(route, Route::Msi(_)));
            let edit = |(gsi, route)| Edit::new(gsi, Change::Translation(route));
            request.edits.extend(messages.map(edit));
            return Ok(());
        }
        if let Demand::Drive(gsi) = request.demand {
            self.validate_drive(gsi)?;
            // Without pins there is nothing that a route which was left behind could lead to.
            if !matches!(self.slots.get(gsi).route(), Some(Route::Pins(_))) {
                request.outcome = Some(Ok(()));
            }
            return Ok(());
        }
        if request.demand == Demand::Each {
            self.prepare_each(request);
            return Ok(());
        }
        self.keep_last_of_each_gsi(&mut request.edits)?;
        request
            .edits
            .iter()
            .try_for_each(|edit| self.validate(edit))?;
        self.validate_driven(&request.edits)?;
        for edit in &mut request.edits {
            // It may have been committed before, in vain.
            edit.fate = Fate::Open;
            self.slots.unsettle(edit.gsi);
        }
        Ok(())
    }

    /// The same for edits that stand for themselves.
    fn prepare_each(&mut self, request: &mut Request) {
        self.meet_each(request);
        for edit in request.open_edits() {
            self.slots.unsettle(edit.gsi);
        }
    }

    /// Leaves those edits open that are valid, and the last that were staged under their leases.
    pub(crate) fn meet_each(&mut self, request: &mut Request) {
        let mut edits = std::mem::take(&mut request.edits);
        for edit in &mut edits {
            edit.fate = match self.is_in_range(edit).and_then(|()| self.validate(edit)) {
                Ok(()) => {
                    self.slots.meet(edit.gsi, edit.number());
                    Fate::Superseded
                }
                Err(error) => request.fate_of(Failure::Error(error)),
            };
        }
        // Of one edit that is there twice, the second counts.
        for edit in edits.iter_mut().rev() {
            let is_newest = edit.fate == Fate::Superseded
                && self.slots.is_newest(edit.gsi, edit.number())
                && !self.met.put(edit.gsi.index());
            if is_newest {
                edit.fate = Fate::Open;
            }
        }
        self.met.clear();
        request.edits = edits;
    }

    /// How many of the first requests can share a round. A translation of all routes starts from
    /// those that are committed, so it shares none. What concerns pins is validated against those
    /// that are committed, too, where a line is driven.
    fn together(&self, requests: &[Request]) -> usize {
        let (mut driven, mut pins) = (!self.driven.is_empty(), false);
        for (before, request) in requests.iter().enumerate() {
            if request.demand == Demand::Retranslate {
                return before.max(1);
            }
            driven |= request.is_drive();
            let concerns_pins = request.concerns_pins();
            if driven && pins && concerns_pins {
                return before;
            }
            pins |= concerns_pins;
        }
        requests.len()
    }

    fn keep_last_of_each_gsi(&mut self, edits: &mut Vec<Edit>) -> Result<(), Error> {
        edits.iter().try_for_each(|edit| self.is_in_range(edit))?;
        edits.reverse();
        edits.retain(|edit| !self.met.put(edit.gsi.index()));
        edits.reverse();
        self.met.clear();
        Ok(())
    }

    /// One that is out of range comes from the table of a larger machine.
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

    /// Enters what the kernel has taken. Meanwhile a lease may have been dropped, parked or put
    /// in quarantine; its GSI has no other holder yet.
    fn take_over(&mut self, edit: &Edit) {
        let (gsi, route) = (edit.gsi, edit.route());
        let lines = self.slots.get(gsi).lines();
        let slot = match (edit.change, self.slots.get(gsi)) {
            (Change::Translation(_), _) => return,
            (Change::Wiring(Some(pins)), _) => Slot::Wired { pins, lines },
            (Change::Wiring(None), _) => Slot::Free,
            (
                Change::Lease(id, _) | Change::Message(id, ..),
                Slot::Leased {
                    edit: newest,
                    id: holder,
                    ..
                },
            ) if id == holder => Slot::Leased {
                id,
                route,
                lines,
                edit: newest,
            },
            (
                Change::Lease(id, _) | Change::Message(id, ..),
                Slot::Parked {
                    id: holder,
                    edit,
                    since,
                    ..
                },
            ) if id == holder => Slot::Parked {
                id,
                route,
                edit,
                since,
            },
            (Change::Lease(..) | Change::Message(..), Slot::Quarantined(_)) => {
                Slot::Quarantined(route)
            }
            (Change::Lease(..) | Change::Message(..), _) => {
                self.stale.insert(gsi.index());
                return;
            }
        };
        self.slots.put(gsi, slot);
    }
}

/// For diagnosis.
impl State {
    /// Whether the kernel is known to have our table.
    pub(crate) fn is_committed(&self) -> bool {
        self.committed
    }

    /// Whether the translation of a route has let nothing through.
    pub(crate) fn is_blocked(&self, gsi: Gsi) -> bool {
        self.blocked.contains(gsi.index())
    }

    /// Whether the kernel may still have the route of a lease that is gone.
    pub(crate) fn is_stale(&self, gsi: Gsi) -> bool {
        let engine = self.engine.as_deref();
        self.stale.contains(gsi.index())
            || engine.is_some_and(|engine| engine.stale.contains(gsi.index()))
    }
}

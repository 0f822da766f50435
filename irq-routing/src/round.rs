// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Group commit: requests that come while one is in the kernel go there together.
//!
//! A caller queues its request. If no thread is at work, it takes the engine and all that waits,
//! and carries it out without the lock, so that leases can be taken and dropped meanwhile. What
//! comes in between waits for the next round, which one of those callers leads. So a caller never
//! works for requests that came after its own round has begun, and the table needs no thread of its
//! own. (Some requests do not share a round, see `State::together`, so a caller may lead others
//! before its own.)
//!
//! A round calls the translation and the VM, which may panic. A panic is handled as a refusal of
//! the kernel is: the request that causes it fails alone, and its caller gets the panic, whichever
//! thread leads the round.

use std::sync::Arc;

use crate::engine::{Engine, Outside};
use crate::request::{Demand, Edit, Failure, Fate, Finished, Request, discard, guarded, unwind};
use crate::table::Shared;
use crate::{Armed, Error, Gsi};

impl Shared {
    /// Carries out a request, together with those of others. The edits come back, for their memory.
    pub(crate) fn submit(&self, demand: Demand, edits: &mut Vec<Edit>) -> Result<(), Error> {
        let finished = self.carry_out(demand, std::mem::take(edits));
        *edits = finished.edits;
        if let Err(Failure::Error(error)) = &finished.result {
            self.observe(|observer| observer.commit_refused(error));
        }
        finished.result.or_else(unwind)
    }

    pub(crate) fn carry_out(&self, demand: Demand, edits: Vec<Edit>) -> Finished {
        let edits = match self.start_for(demand, edits) {
            Ok(edits) => edits,
            Err(failed) => return failed,
        };
        let mut state = self.state.lock();
        let ticket = state.enqueue(demand, edits);
        loop {
            if let Some(finished) = state.collect(ticket) {
                return finished;
            }
            if let Some((mut engine, mut requests)) = state.begin_round() {
                drop(state);
                self.lead(&mut engine, &mut requests);
                state = self.state.lock();
                let unblocked = state.enter(&engine, &requests);
                if !unblocked.is_empty() {
                    drop(state);
                    rearm(unblocked);
                    state = self.state.lock();
                }
                let observed = self.observer.is_some();
                let committed = observed.then(|| engine.committed(&requests)).flatten();
                state.end_round(engine, requests);
                drop(state);
                self.ended.notify_all();
                if let Some(committed) = committed {
                    self.observe(|observer| observer.committed(&committed));
                }
                state = self.state.lock();
            } else {
                state = self.ended.wait(state);
            }
        }
    }

    /// Runs a round without the lock. It does not unwind: what panics in it is the failure of one
    /// request.
    fn lead(&self, engine: &mut Engine, requests: &mut [Request]) {
        for request in &mut *requests {
            self.translate(request);
            if engine.has_32_bit_ids && request.demand == Demand::Each {
                request.refuse_broken_rules();
            }
            if self.translation.is_some() {
                self.disarm_blocked(engine, request);
            }
            let is_empty = request.open_edits().next().is_none();
            if request.demand == Demand::Each && is_empty {
                request.outcome = Some(Ok(()));
            }
        }
        let outside = Outside {
            vm: &*self.vm,
            disarm: &|gsi| self.disarm(gsi),
            make_room: &|excess, entries| self.state.lock().make_room(excess, entries),
        };
        engine.carry_out(&outside, requests);
        for request in requests {
            let held = request.edits.iter().find(|edit| edit.fate == Fate::Held);
            // This before `Untranslated`, which says that no old translation is in force.
            if let (
                Some(edit),
                Demand::Retranslate,
                Some(Ok(()) | Err(Failure::Error(Error::Untranslated { .. }))),
            ) = (held, request.demand, &request.outcome)
            {
                let held = Failure::Error(Error::RouteHeld { gsi: edit.gsi });
                discard(request.outcome.replace(Err(held)));
            }
        }
    }

    /// Translates what is to be committed. If that panics the request fails, or the edit that
    /// stands for itself.
    fn translate(&self, request: &mut Request) {
        if !request.is_pending() {
            return;
        }
        let mut edits = std::mem::take(&mut request.edits);
        for edit in edits.iter_mut().filter(|edit| edit.is_open()) {
            let route = edit.route();
            match guarded(|| route.and_then(|route| self.translated(route))) {
                Ok(given) => edit.given = given,
                Err(failure) if request.demand == Demand::Each => {
                    edit.fate = request.fate_of(failure);
                }
                Err(failure) => {
                    request.outcome = Some(Err(failure));
                    break;
                }
            }
        }
        request.edits = edits;
    }

    /// Takes off what is armed on GSIs whose routes are about to go, because their messages are
    /// blocked. Where that fails the route stays, and the edit or its request fails.
    fn disarm_blocked(&self, engine: &Engine, request: &mut Request) {
        if !request.is_pending() {
            return;
        }
        let mut held = None;
        // Where there is no entry, the message was blocked before, or there was no route: nothing
        // is armed.
        let blocked =
            |edit: &&mut Edit| edit.is_open() && edit.is_blocked() && engine.has_entry(edit.gsi);
        for edit in request.edits.iter_mut().filter(blocked) {
            if !self.disarm(edit.gsi) {
                edit.fate = Fate::Held;
                held = held.or(Some(edit.gsi));
            }
        }
        if let (Some(gsi), Demand::Edits) = (held, request.demand) {
            request.outcome = Some(Err(Failure::Error(Error::RouteHeld { gsi })));
        }
    }

    /// Keeps things from being armed on a GSI, and disarms what is. Returns whether nothing is
    /// armed then.
    fn disarm(&self, gsi: Gsi) -> bool {
        let (may_go, armed) = self.state.lock().block(gsi);
        let disarm = |armed: &Arc<dyn Armed>| match guarded(|| armed.disarm()) {
            Ok(disarmed) => disarmed,
            Err(failure) => {
                discard(failure);
                false
            }
        };
        let disarmed = may_go && armed.iter().all(disarm);
        // The last references of some, perhaps, whose drop may panic.
        armed.into_iter().for_each(discard);
        disarmed
    }
}

/// Calls what may arm its irqfds again, and drops it, both without the lock. A panic of one must
/// not keep the others from it.
fn rearm(unblocked: Vec<Arc<dyn Armed>>) {
    for armed in unblocked {
        if let Err(failure) = guarded(|| armed.rearm()) {
            discard(failure);
        }
        discard(armed);
    }
}

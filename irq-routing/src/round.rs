// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Group commit: requests that come while one is in the kernel go there together.
//!
//! A caller queues its request. If nobody is at work it takes the engine and all that waits, and carries
//! it out without the lock, so that leases can be taken and dropped meanwhile. What comes in between waits
//! for the next round, which one of those callers leads: nobody works for requests that came after its own
//! round has begun, and no thread of the table's own is needed. (A translation of all routes is a round by
//! itself, so that a caller may lead one before its own.)

use crate::Error;
use crate::engine::Engine;
use crate::request::{Demand, Edit, Request};
use crate::table::Shared;

impl Shared {
    /// Carries out a request, together with those of others. The edits come back, for their memory.
    pub(crate) fn submit(&self, demand: Demand, edits: &mut Vec<Edit>) -> Result<(), Error> {
        let mut state = self.state.lock();
        let ticket = state.enqueue(demand, std::mem::take(edits));
        loop {
            if let Some(finished) = state.collect(ticket) {
                *edits = finished.edits;
                return finished.result;
            }
            if let Some((engine, requests)) = state.begin_round() {
                drop(state);
                Round::new(self, ticket, engine, requests).lead();
                state = self.state.lock();
            } else {
                state = self.ended.wait(state);
            }
        }
    }
}

/// Requests on their way to the kernel. Dropping it ends the round, in a panic too (one of the machine or
/// of the translation): the leader's request goes with the panic, others that were not carried out are
/// left to the next round.
struct Round<'a> {
    shared: &'a Shared,
    /// That of the caller who leads.
    ticket: u64,
    work: Option<(Box<Engine>, Vec<Request>)>,
    complete: bool,
}

impl<'a> Round<'a> {
    fn new(shared: &'a Shared, ticket: u64, engine: Box<Engine>, requests: Vec<Request>) -> Self {
        Self {
            shared,
            ticket,
            work: Some((engine, requests)),
            complete: false,
        }
    }

    fn lead(mut self) {
        if let Some((engine, requests)) = &mut self.work {
            for edit in requests.iter_mut().flat_map(|request| &mut request.edits) {
                edit.given = edit.route().and_then(|route| self.shared.translated(route));
            }
            engine.carry_out(&*self.shared.vm, requests);
        }
        self.complete = true;
    }
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        let Some((mut engine, requests)) = self.work.take() else {
            return;
        };
        if !self.complete {
            engine.recover();
        }
        let mut state = self.shared.state.lock();
        state.end_round(engine, requests);
        if !self.complete {
            state.forget(self.ticket);
        }
        drop(state);
        self.shared.ended.notify_all();
    }
}

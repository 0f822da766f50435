// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Group commit: requests that come while one is in the kernel go there together.
//!
//! A caller queues its request. If nobody is at work it takes the engine and all that waits, and carries
//! it out without the lock, so that leases can be taken and dropped meanwhile. What comes in between waits
//! for the next round, which one of those callers leads: nobody works for requests that came after its own
//! round has begun, and no thread of the table's own is needed. (Some requests do not share a round, see
//! `State::together`, so that a caller may lead others before its own.)
//!
//! A round calls the translation and the VM, which may panic. A panic is handled as a refusal of the kernel is:
//! the request that causes it fails alone, and its caller gets the panic, whichever thread leads the round.

use std::panic::resume_unwind;

use crate::Error;
use crate::engine::Engine;
use crate::request::{Demand, Edit, Failure, Request, guarded};
use crate::table::Shared;

impl Shared {
    /// Carries out a request, together with those of others. The edits come back, for their memory.
    pub(crate) fn submit(&self, demand: Demand, edits: &mut Vec<Edit>) -> Result<(), Error> {
        let mut state = self.state.lock();
        let ticket = state.enqueue(demand, std::mem::take(edits));
        loop {
            if let Some(finished) = state.collect(ticket) {
                drop(state);
                *edits = finished.edits;
                return finished.result.map_err(|failure| match failure {
                    Failure::Error(error) => error,
                    Failure::Panic(payload) => resume_unwind(payload),
                });
            }
            if let Some((mut engine, mut requests)) = state.begin_round() {
                drop(state);
                self.lead(&mut engine, &mut requests);
                self.state.lock().end_round(engine, requests);
                self.ended.notify_all();
                state = self.state.lock();
            } else {
                state = self.ended.wait(state);
            }
        }
    }

    /// Runs a round without the lock. It does not unwind: what panics in it is the failure of one request.
    fn lead(&self, engine: &mut Engine, requests: &mut [Request]) {
        for request in &mut *requests {
            if let Err(failure) = self.translate(&mut request.edits) {
                request.outcome = Some(Err(failure));
            }
        }
        engine.carry_out(&*self.vm, requests);
    }

    fn translate(&self, edits: &mut [Edit]) -> Result<(), Failure> {
        guarded(|| {
            for edit in edits {
                edit.given = edit.route().and_then(|route| self.translated(route));
            }
        })
    }
}

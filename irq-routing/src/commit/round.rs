// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Group commit: requests that arrive during an ioctl share the next one.
//!
//! A caller queues its request. If no round is running, the caller runs one: it takes the kernel's
//! table and all waiting requests, and carries them out. The lock is not held meanwhile, so leases
//! can be taken and dropped. Requests that arrive in between wait for the next round, which one of
//! their callers runs. So a caller never works for requests that arrived after its own round has
//! begun, and the table needs no thread of its own. (Some requests do not share a round, see
//! `State::count_sharing_a_round`, so a caller may run other rounds before its own.)
//!
//! A round calls the translation and the VM, which may panic. A panic is handled like a refusal of
//! the kernel: the request that causes it fails alone, and its caller gets the panic, whichever
//! thread runs the round.

use std::sync::Arc;

use crate::commit::edit::{Edit, EditProgress};
use crate::commit::failure::{Failure, discard, guarded, raise};
use crate::commit::kernel::{Callbacks, KernelTable};
use crate::commit::request::{Finished, Request, RequestKind};
use crate::table::shared::Shared;
use crate::table::state::State;
use crate::{Armed, Error, Gsi};

impl Shared {
    /// Carries out a request, together with those of other callers. Gives back the edits' memory.
    pub(crate) fn submit(&self, kind: RequestKind, edits: &mut Vec<Edit>) -> Result<(), Error> {
        let finished = self.queue_and_wait(kind, std::mem::take(edits));
        *edits = finished.edits;
        if let Err(Failure::Error(error)) = &finished.result {
            self.observe(|observer| observer.commit_refused(error));
        }
        finished.result.or_else(raise)
    }

    pub(crate) fn queue_and_wait(&self, kind: RequestKind, edits: Vec<Edit>) -> Finished {
        let edits = match self.start_for(kind, edits) {
            Ok(edits) => edits,
            Err(failed) => return failed,
        };
        let mut state = self.state.lock();
        let ticket = state.queue.push(kind, edits);
        loop {
            if let Some(finished) = state.queue.take_finished(ticket) {
                return finished;
            }
            if let Some((mut kernel, mut requests)) = state.take_kernel_and_requests() {
                drop(state);
                self.run_round(&mut kernel, &mut requests);
                state = self.state.lock();
                let unblocked = state.enter_committed_edits(&kernel, &requests);
                if !unblocked.is_empty() {
                    drop(state);
                    rearm(unblocked);
                    state = self.state.lock();
                }
                let observed = self.observer.is_some();
                let committed = observed.then(|| kernel.committed(&requests)).flatten();
                state.give_back_kernel(kernel, requests);
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

    /// Runs a round without the lock. It does not unwind: a panic becomes the failure of one
    /// request.
    fn run_round(&self, kernel: &mut KernelTable, requests: &mut [Request]) {
        for request in &mut *requests {
            self.translate(request);
            if kernel.has_32_bit_ids && request.kind == RequestKind::Each {
                request.refuse_broken_rules();
            }
            if self.translation.is_some() {
                self.disarm_blocked(kernel, request);
            }
            let is_empty = request.open_edits().next().is_none();
            if request.kind == RequestKind::Each && is_empty {
                request.outcome = Some(Ok(()));
            }
        }
        let callbacks = Callbacks {
            vm: &*self.vm,
            disarm: &|gsi| self.disarm(gsi),
            make_room: &|excess, entries| self.state.lock().make_room(excess, entries),
        };
        kernel.commit_requests(&callbacks, requests);
        for request in requests {
            let held = request
                .edits
                .iter()
                .find(|edit| edit.progress == EditProgress::RouteHeld);
            // `RouteHeld` before `Untranslated`, which means that no old translation is in force.
            if let (
                Some(edit),
                RequestKind::Retranslate,
                Some(Ok(()) | Err(Failure::Error(Error::Untranslated { .. }))),
            ) = (held, request.kind, &request.outcome)
            {
                let held = Failure::Error(Error::RouteHeld { gsi: edit.gsi });
                discard(request.outcome.replace(Err(held)));
            }
        }
    }

    /// Translates what is to be committed. After a panic the request fails, or only the edit if it
    /// is independent.
    fn translate(&self, request: &mut Request) {
        if !request.is_pending() {
            return;
        }
        let mut edits = std::mem::take(&mut request.edits);
        for edit in edits.iter_mut().filter(|edit| edit.is_open()) {
            let route = edit.route();
            match guarded(|| route.and_then(|route| self.translated(route))) {
                Ok(translated) => edit.translated = translated,
                Err(failure) if request.kind == RequestKind::Each => {
                    edit.progress = request.record_failure(failure);
                }
                Err(failure) => {
                    request.outcome = Some(Err(failure));
                    break;
                }
            }
        }
        request.edits = edits;
    }

    /// Disarms what is armed on GSIs whose messages are blocked, before their routes are removed.
    ///
    /// Where that fails the route stays, and the edit or its request fails.
    fn disarm_blocked(&self, kernel: &KernelTable, request: &mut Request) {
        if !request.is_pending() {
            return;
        }
        let mut held = None;
        // Where there is no entry, the message was blocked before, or there was no route: nothing
        // is armed.
        let blocked =
            |edit: &&mut Edit| edit.is_open() && edit.is_blocked() && kernel.has_entry(edit.gsi);
        for edit in request.edits.iter_mut().filter(blocked) {
            if !self.disarm(edit.gsi) {
                edit.progress = EditProgress::RouteHeld;
                held = held.or(Some(edit.gsi));
            }
        }
        if let (Some(gsi), RequestKind::Transaction) = (held, request.kind) {
            request.outcome = Some(Err(Failure::Error(Error::RouteHeld { gsi })));
        }
    }

    /// Prevents arming on a GSI, and disarms what is armed there. Returns whether nothing is armed
    /// any more.
    fn disarm(&self, gsi: Gsi) -> bool {
        let (may_go, armed) = self.state.lock().mark_blocked(gsi);
        let disarm = |armed: &Arc<dyn Armed>| match guarded(|| armed.disarm()) {
            Ok(disarmed) => disarmed,
            Err(failure) => {
                discard(failure);
                false
            }
        };
        let disarmed = may_go && armed.iter().all(disarm);
        // This may drop last references, and that may panic.
        armed.into_iter().for_each(discard);
        disarmed
    }
}

/// Calls `rearm` of each, and drops it, both without the lock. A panic of one must not affect the
/// others.
fn rearm(unblocked: Vec<Arc<dyn Armed>>) {
    for armed in unblocked {
        if let Err(failure) = guarded(|| armed.rearm()) {
            discard(failure);
        }
        discard(armed);
    }
}

impl State {
    /// Takes the kernel's table and the waiting requests that are valid, unless another thread has
    /// the table.
    pub(crate) fn take_kernel_and_requests(&mut self) -> Option<(Box<KernelTable>, Vec<Request>)> {
        let mut kernel = self.kernel.take()?;
        kernel.stale.union_with(&self.stale);
        self.stale.clear();
        let mut waiting = std::mem::take(&mut self.queue.waiting);
        let mut requests = std::mem::take(&mut self.queue.spare);
        for mut request in waiting.drain(..self.count_sharing_a_round(&waiting)) {
            match self.validate_request(&mut request) {
                Ok(()) => requests.push(request),
                Err(error) => {
                    let failed = Err(Failure::Error(error));
                    self.queue.finished.push(request.finish(failed));
                }
            }
        }
        self.queue.waiting = waiting; // with its memory
        Some((kernel, requests))
    }

    /// Gives back what [`take_kernel_and_requests`](Self::take_kernel_and_requests) has taken,
    /// after the table was updated.
    pub(crate) fn give_back_kernel(
        &mut self,
        kernel: Box<KernelTable>,
        mut requests: Vec<Request>,
    ) {
        for mut request in requests.drain(..) {
            if let Some(result) = request.outcome.take() {
                self.queue.finished.push(request.finish(result));
            }
        }
        self.queue.spare = requests;
        self.committed = kernel.is_committed();
        self.was_committed = kernel.was_committed;
        self.kernel = Some(kernel);
    }

    /// How many of the first requests can share a round.
    ///
    /// A retranslation starts from the committed routes, so it has a round of its own. While a line
    /// is driven, a request that concerns pins is validated against the committed routes too, so a
    /// round has at most one of these.
    fn count_sharing_a_round(&self, requests: &[Request]) -> usize {
        let (mut driven, mut pins) = (!self.driven.is_empty(), false);
        for (before, request) in requests.iter().enumerate() {
            if request.kind == RequestKind::Retranslate {
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
}

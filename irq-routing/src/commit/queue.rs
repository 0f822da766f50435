// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Queue`]: the requests that wait for a round, and the results of earlier rounds.

use super::edit::Edit;
use super::request::{Finished, Request, RequestKind};

/// The requests of all callers, behind the table's lock.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(super) waiting: Vec<Request>,
    /// Requests that were carried out, until their callers take the results.
    pub(super) finished: Vec<Finished>,
    last_ticket: u64,
    /// Memory of the last round's requests, reused by the next.
    pub(super) spare: Vec<Request>,
}

impl Queue {
    /// Queues a request. Returns the ticket by which its caller finds the result.
    pub(super) fn push(&mut self, kind: RequestKind, edits: Vec<Edit>) -> u64 {
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        self.waiting.push(Request::new(ticket, kind, edits));
        ticket
    }

    /// Returns the result of a request, once it is carried out.
    pub(super) fn take_finished(&mut self, ticket: u64) -> Option<Finished> {
        let found = |finished: &Finished| finished.ticket == ticket;
        let index = self.finished.iter().position(found)?;
        Some(self.finished.swap_remove(index))
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How a vector is made.

use std::sync::Arc;

use irq_routing::RoutingTable;

use super::{Inner, Vector};
use crate::Error;
use crate::queue::ArmQueue;

/// Builds a [`Vector`].
#[derive(Debug)]
#[must_use]
pub struct VectorBuilder<'a> {
    table: &'a RoutingTable,
    queue: Option<&'a ArmQueue>,
}

impl<'a> VectorBuilder<'a> {
    pub(super) fn new(table: &'a RoutingTable) -> Self {
        let queue = None;
        Self { table, queue }
    }

    /// Leaves it to this queue's owner to arm the vector when it is exported (default: whoever unmasks it
    /// commits its route at once).
    pub fn queue(mut self, queue: &'a ArmQueue) -> Self {
        self.queue = Some(queue);
        self
    }

    /// A masked vector without a message. No ioctl.
    ///
    /// # Errors
    ///
    /// [`Error::QueueOfAnotherTable`]; [`Error::Export`], where it has to be exported from the start.
    pub fn build(self) -> Result<Vector, Error> {
        if self.queue.is_some_and(|queue| queue.table() != self.table) {
            return Err(Error::QueueOfAnotherTable);
        }
        let inner = Arc::new(Inner::new(self.table, self.queue));
        let vector = Vector { inner };
        if !vector.inner.signals() {
            vector.export()?;
        }
        Ok(vector)
    }
}

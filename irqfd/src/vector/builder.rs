// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How a vector is made.

use std::sync::Arc;

use irq_routing::RoutingTable;

use super::{Device, Inner, Vector};
use crate::Error;
use crate::queue::ArmQueue;

/// Builds a [`Vector`].
#[derive(Debug)]
#[must_use]
pub struct VectorBuilder<'a> {
    table: &'a RoutingTable,
    queue: Option<&'a ArmQueue>,
    name: Option<Arc<str>>,
    place: Option<(Arc<Device>, u16)>,
}

impl<'a> VectorBuilder<'a> {
    pub(super) fn new(table: &'a RoutingTable) -> Self {
        Self {
            table,
            queue: None,
            name: None,
            place: None,
        }
    }

    /// Leaves it to this queue's owner to arm the vector when it is exported (default: the thread
    /// that unmasks it commits its route at once).
    pub fn queue(mut self, queue: &'a ArmQueue) -> Self {
        self.queue = Some(queue);
        self
    }

    /// A name for its lease, and for what is said when it is [`Dead`](crate::Dead) (default: none).
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// One of the vectors of a device.
    pub(crate) fn of(mut self, device: &Arc<Device>, number: u16) -> Self {
        self.place = Some((Arc::clone(device), number));
        self
    }

    /// A masked vector without a message. No ioctl.
    ///
    /// # Errors
    ///
    /// [`Error::QueueOfAnotherTable`]; [`Error::Export`], where it has to be exported from the
    /// start.
    pub fn build(self) -> Result<Vector, Error> {
        if self.queue.is_some_and(|queue| queue.table() != self.table) {
            return Err(Error::QueueOfAnotherTable);
        }
        let (device, number) = match self.place {
            Some((device, number)) => (device, Some(number)),
            None => (Arc::new(Device::new(self.name, true)), None),
        };
        let inner = Arc::new(Inner::new(self.table, self.queue, device, number));
        if self.table.translates() {
            let weak = Arc::downgrade(&inner);
            // It is set once.
            let _ = inner.registration.set(self.table.register(weak));
        }
        let vector = Vector { inner };
        if !vector.inner.signals() {
            vector.export()?;
        }
        Ok(vector)
    }
}

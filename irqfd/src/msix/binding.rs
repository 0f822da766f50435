// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Binding`]: which vector a queue uses.

use super::Table;
use crate::sync::atomic::{AtomicU16, Ordering};
use crate::{Error, Triggered, Vector};

/// The number that stands for no vector (virtio 1.2, 4.1.5.1.2).
pub const NO_VECTOR: u16 = 0xffff;

/// What the guest chose of a table for one queue, or for changes of the configuration: a vector or
/// none.
///
/// It is the register `queue_msix_vector` or `config_msix_vector` of a virtio device. A number that
/// the table does not have binds to none, and reads back as [`NO_VECTOR`]; none is an ordinary
/// state, in which triggers do nothing.
///
/// ```
/// # use std::sync::Arc;
/// # use irq_routing::RoutingTable;
/// # use irqfd::{Triggered, msix};
/// # use notify_core::sim::SimVm;
/// # let routing = RoutingTable::new(Arc::new(SimVm::builder().build()))?;
/// # let table = msix::Table::builder(&routing).vectors(2).build()?;
/// let queue = msix::Binding::new(&table);
/// assert_eq!(queue.trigger()?, None);
/// assert_eq!(queue.bind(1), 1);
/// // MSI-X is disabled, so the device uses its INTx pin.
/// assert_eq!(queue.trigger()?, Some(Triggered::Disabled));
/// assert_eq!(queue.bind(2), msix::NO_VECTOR);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Binding {
    table: Table,
    number: AtomicU16,
}

impl Binding {
    /// Bound to no vector.
    #[must_use]
    pub fn new(table: &Table) -> Self {
        Self {
            table: table.clone(),
            number: AtomicU16::new(NO_VECTOR),
        }
    }

    /// The guest writes the register. Answers with what it reads from now on.
    pub fn bind(&self, number: u16) -> u16 {
        let number = match self.table.vector(number) {
            Some(_) => number,
            None => NO_VECTOR,
        };
        self.number.store(number, Ordering::Release);
        number
    }

    /// What the guest reads: the vector's number or [`NO_VECTOR`].
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number.load(Ordering::Acquire)
    }

    /// The vector, if it is bound to one.
    #[must_use]
    pub fn vector(&self) -> Option<&Vector> {
        self.table.vector(self.number())
    }

    /// Triggers the vector, or does nothing and answers `None`. No lock, no allocation.
    ///
    /// # Errors
    ///
    /// Those of [`Vector::trigger`].
    pub fn trigger(&self) -> Result<Option<Triggered>, Error> {
        self.vector().map(Vector::trigger).transpose()
    }
}

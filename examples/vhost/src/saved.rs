// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`SavedWiring`]: the wiring of a VM in the forms in which it is sent to another VM.

use std::error::Error;

use irqfd::msix::{self, Binding, NO_VECTOR};

use crate::guest::QUEUES;

/// What [`Wiring::save`](crate::wiring::Wiring::save) returns.
#[derive(Debug)]
pub struct SavedWiring {
    pub(crate) table: SavedTable,
    /// Where the doorbells are.
    pub(crate) place: u64,
    pub(crate) queues: [SavedQueue; QUEUES],
}

impl SavedWiring {
    /// Whether a vector of the table is pending.
    ///
    /// # Errors
    ///
    /// If the table cannot be read.
    pub fn is_pending(&self) -> Result<bool, Box<dyn Error>> {
        let registers = self.table.snapshot()?.registers()?;
        Ok(registers.pending.iter().any(|word| *word != 0))
    }
}

/// The snapshot of an MSI-X table.
#[derive(Debug)]
pub(crate) enum SavedTable {
    /// The format of the crate `irqfd`.
    Json(Vec<u8>),
    /// Plain registers, which every VMM can save.
    Registers(msix::Registers),
}

impl SavedTable {
    /// Writes a snapshot. Even numbers use one form, odd numbers the other.
    pub(crate) fn new(snapshot: &msix::Snapshot, number: u32) -> Result<Self, Box<dyn Error>> {
        Ok(match number.is_multiple_of(2) {
            true => Self::Json(serde_json::to_vec(snapshot)?),
            false => Self::Registers(snapshot.registers()?),
        })
    }

    /// Reads it.
    pub(crate) fn snapshot(&self) -> Result<msix::Snapshot, Box<dyn Error>> {
        Ok(match self {
            Self::Json(bytes) => serde_json::from_slice(bytes)?,
            Self::Registers(registers) => msix::Snapshot::try_from(registers)?,
        })
    }
}

/// A queue's vector, which is not part of the table.
#[derive(Debug)]
pub(crate) struct SavedQueue {
    number: u16,
    /// Whether the back-end called while the queue had no vector. The guest moves a queue by way of
    /// no vector, and expects the interrupt at the next vector.
    called: bool,
}

impl SavedQueue {
    pub(crate) fn of(queue: &Binding) -> Result<Self, Box<dyn Error>> {
        let number = queue.number();
        Ok(Self {
            number,
            called: number == NO_VECTOR && queue.call()?.is_signalled()?,
        })
    }

    pub(crate) fn restore(&self, queue: &Binding) -> Result<(), Box<dyn Error>> {
        queue.bind(self.number);
        if self.called {
            queue.call()?.notify()?;
        }
        Ok(())
    }
}

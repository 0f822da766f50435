// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Use`]: how many bindings use a vector.

use std::mem;
use std::sync::Arc;

use notify_core::EventNotifier;

use super::{NO_VECTOR, Table};
use crate::{VectorError, VectorHandle};

/// That a binding uses a vector, or none. The table counts the uses of each vector.
#[derive(Debug)]
pub(super) struct Use {
    table: Table,
    number: u16,
}

impl Use {
    /// Begins it; of none if the table does not have the vector.
    pub(super) fn new(table: &Table, number: u16) -> Self {
        let users = table.inner.users.get(usize::from(number));
        if let Some(users) = users {
            *users.lock() += 1;
        }
        Self {
            table: table.clone(),
            number: users.map_or(NO_VECTOR, |_| number),
        }
    }

    pub(super) fn number(&self) -> u16 {
        self.number
    }

    pub(super) fn vector(&self) -> Option<&VectorHandle> {
        self.table.vector(self.number)
    }

    /// What a back-end signals: the notifier of the vector, or else one that holds signals.
    pub(super) fn call(
        &self,
        holding: &mut Option<Arc<EventNotifier>>,
    ) -> Result<Arc<EventNotifier>, VectorError> {
        if let Some(vector) = self.vector() {
            return vector.export();
        }
        if let Some(holding) = holding {
            return Ok(Arc::clone(holding));
        }
        let new = EventNotifier::new().map_err(|cause| VectorError::Notifier { cause })?;
        Ok(Arc::clone(holding.insert(Arc::new(new))))
    }

    /// Ends it, and takes a signal that is pending at the vector. If another binding uses the
    /// vector, the signal stays there as well.
    pub(super) fn end(mut self) -> bool {
        let number = mem::replace(&mut self.number, NO_VECTOR);
        let users = self.table.inner.users.get(usize::from(number));
        let (Some(vector), Some(users)) = (self.table.vector(number), users) else {
            return false;
        };
        // Both under the lock: of two that leave at once, one finds the signal that the other left.
        let mut users = users.lock();
        *users -= 1;
        vector.inner.take_pending(*users > 0)
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        if let Some(users) = self.table.inner.users.get(usize::from(self.number)) {
            *users.lock() -= 1;
        }
    }
}

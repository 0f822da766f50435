// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Calls of the table's observer for a vector, made without the vector's lock.

use irq_routing::{ObservedVector, Observer};

use super::Inner;
use crate::VectorError;

impl Inner {
    /// The vector was opened, and a trigger that was kept has become an interrupt, or there was
    /// none.
    pub(super) fn observe_opened(&self, delivered: bool) {
        self.observe(|observer, vector| {
            observer.vector_opened(vector);
        });
        if delivered {
            self.observe(|observer, vector| observer.vector_delivered(vector));
        }
    }

    /// The vector cannot deliver, for this reason.
    pub(super) fn observe_refused(&self, reason: &VectorError) {
        self.observe(|observer, vector| observer.vector_refused(vector, reason));
    }

    fn observe(&self, event: impl FnOnce(&dyn Observer, &ObservedVector<'_>)) {
        self.table.observe(|observer| {
            let name = self.device.name().map(|name| &**name);
            event(observer, &ObservedVector::new(name, self.number));
        });
    }
}

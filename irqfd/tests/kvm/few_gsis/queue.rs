// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Queue`]: a queue that the guest moves between vectors, and its back-end.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use irqfd::msix::{Binding, NO_VECTOR, Table};
use notify_core::EventNotifier;

use super::OF_QUEUE;
use crate::storm::Dice;

/// A queue of a device, and a back-end that signals its call.
pub(super) struct Queue {
    pub(super) binding: Binding,
    backend: Mutex<Arc<EventNotifier>>,
}

impl Queue {
    pub(super) fn new(table: &Table) -> Self {
        let binding = Binding::new(table);
        let backend = Mutex::new(binding.call().unwrap());
        Self { binding, backend }
    }

    /// Moves the queue to a vector, or to none.
    pub(super) fn bind(&self, number: u16) {
        let set_call = |call: &Arc<EventNotifier>| {
            *self.backend.lock().unwrap() = Arc::clone(call);
            Ok::<_, Infallible>(())
        };
        assert_eq!(self.binding.bind_call(number, set_call).unwrap(), number);
    }

    pub(super) fn bind_at_random(&self, dice: &mut Dice) {
        let number = u16::try_from(dice.roll(OF_QUEUE + 1)).unwrap();
        let none = u32::from(number) == OF_QUEUE;
        self.bind(if none { NO_VECTOR } else { number });
    }

    /// The back-end signals.
    pub(super) fn signal(&self) {
        self.backend.lock().unwrap().notify().unwrap();
    }
}

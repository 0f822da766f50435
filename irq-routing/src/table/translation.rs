// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Translation`]: what lies between a device's message and the kernel.

use std::fmt;

use crate::MsiMessage;

type Translate = dyn Fn(MsiMessage) -> Option<MsiMessage> + Send + Sync;

/// The caller's translation of messages, if there is one.
#[derive(Default)]
pub(crate) struct Translation(Option<Box<Translate>>);

impl Translation {
    pub(crate) fn new(
        translate: impl Fn(MsiMessage) -> Option<MsiMessage> + Send + Sync + 'static,
    ) -> Self {
        Self(Some(Box::new(translate)))
    }

    /// Whether there is one.
    pub(crate) fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// What the kernel is given for a message. Inlined, as it is on the way of every message, and
    /// nearly always there is no translation.
    #[inline]
    pub(crate) fn message(&self, message: MsiMessage) -> Option<MsiMessage> {
        match &self.0 {
            Some(translate) => translate(message),
            None => Some(message),
        }
    }
}

impl fmt::Debug for Translation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "Translation"
        } else {
            "none"
        })
    }
}

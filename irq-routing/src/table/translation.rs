// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Translation`]: the VMM's translation of messages.

use std::fmt;

use crate::MsiMessage;

type Translate = dyn Fn(MsiMessage) -> Option<MsiMessage> + Send + Sync;

/// The VMM's translation of messages, if it has set one.
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

    /// The message that the kernel is given, or `None` if it is blocked. Inlined: each message
    /// passes here, and most tables have no translation.
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

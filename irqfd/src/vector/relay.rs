// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the owner of a queue does for a relayed vector.

use std::sync::Arc;

use super::Inner;
use super::control::Arm;
use crate::Error;

impl Inner {
    /// Sends a message if the vector is relayed still and its notifier is signalled.
    pub(crate) fn relay(&self) -> bool {
        let control = self.control.lock();
        let notifier = self.exported.get();
        if let (Arm::Relayed(_), Some(notifier)) = (&control.arm, notifier)
            && let Ok(Some(_)) = notifier.consume()
        {
            // One that the kernel refuses is lost, and the state says so.
            return self.signal().is_ok();
        }
        false
    }

    /// Ends the relaying of a vector whose queue is gone.
    pub(crate) fn end_relay(self: &Arc<Self>, reason: Error) {
        let mut control = self.control.lock();
        if matches!(control.arm, Arm::Relayed(_)) {
            control.turn += 1;
            self.kill(&mut control, Arc::new(reason));
        }
    }
}

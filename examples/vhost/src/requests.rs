// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Requests`]: what other threads request of the vCPU's thread.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

/// What other threads request of the vCPU's thread.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pub(crate) snapshots: AtomicU32,
    pub(crate) end: AtomicBool,
}

impl Requests {
    /// Whether a snapshot is requested; clears the request.
    pub(crate) fn take_snapshot(&self) -> bool {
        let fewer = |due: u32| due.checked_sub(1);
        let taken = self.snapshots.fetch_update(SeqCst, SeqCst, fewer);
        taken.is_ok()
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Signals a kick or a call, whatever a process that shares the eventfd has done to it.

use super::VringError;
use crate::EventNotifier;

/// Signals even if the counter is full: KVM, vhost and daemons are not woken by a write that fails.
///
/// If the open file is non-blocking, the write reports a full counter, and only then is the counter
/// emptied. Otherwise a daemon that was just woken by the guest's kick might find nothing in it,
/// and give up.
///
/// If another holder has cleared O_NONBLOCK, a write to a full counter would block, so the counter
/// is emptied first. A daemon that reads it just then waits for the write.
pub(super) fn signal(notifier: &EventNotifier) -> Result<(), VringError> {
    for _ in 0..8 {
        if !notifier.is_nonblocking()? {
            notifier.consume()?;
        }
        if notifier.try_notify()? {
            return Ok(());
        }
        notifier.consume()?;
    }
    Err(VringError::KeptFull)
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Counting requests, and making them fail.

use std::io;

use super::{SimVm, errno};

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallKind {
    /// KVM_IRQFD that binds.
    IrqFdAssign,
    /// KVM_IRQFD that unbinds.
    IrqFdDeassign,
    /// KVM_IOEVENTFD that binds.
    IoEventFdAssign,
    /// KVM_IOEVENTFD that unbinds.
    IoEventFdDeassign,
    /// KVM_SET_GSI_ROUTING.
    SetGsiRouting,
    /// KVM_SIGNAL_MSI.
    SignalMsi,
    /// KVM_IRQ_LINE and KVM_IRQ_LINE_STATUS.
    IrqLine,
    /// KVM_INTERRUPT.
    Interrupt,
    /// KVM_CHECK_EXTENSION.
    CheckExtension,
}

impl CallKind {
    const COUNT: usize = Self::CheckExtension as usize + 1;
}

#[derive(Debug, Default)]
pub(super) struct Calls {
    counts: [u64; CallKind::COUNT],
    /// Kind, how many calls of it still succeed, and the errno then.
    faults: Vec<(CallKind, u64, i32)>,
}

impl Calls {
    /// Counts a call; the error is the one that was ordered for it.
    pub(super) fn count(&mut self, kind: CallKind) -> io::Result<()> {
        if let Some(count) = self.counts.get_mut(kind as usize) {
            *count += 1;
        }
        let mut due = None;
        self.faults.retain_mut(|(of, left, number)| {
            if *of == kind {
                if *left == 0 {
                    due = Some(*number);
                    return false;
                }
                *left -= 1;
            }
            true
        });
        due.map_or(Ok(()), |number| Err(errno(number)))
    }
}

impl SimVm {
    /// Returns how many requests of a kind were made since [`reset_calls`](Self::reset_calls).
    ///
    /// Requests that failed count as well.
    #[must_use]
    pub fn calls(&self, kind: CallKind) -> u64 {
        let count = self.lock().calls.counts.get(kind as usize).copied();
        count.unwrap_or(0)
    }

    /// Returns how many requests of all kinds were made, except KVM_CHECK_EXTENSION.
    #[must_use]
    pub fn total_calls(&self) -> u64 {
        let all: u64 = self.lock().calls.counts.iter().sum();
        all - self.calls(CallKind::CheckExtension)
    }

    /// Sets all counts to 0. Ordered faults stay.
    pub fn reset_calls(&self) {
        self.lock().calls.counts = [0; CallKind::COUNT];
    }

    /// Makes the `nth` request of a kind fail with this errno, once and without effect.
    ///
    /// Counted from now on: 1 is the next request.
    ///
    /// ```
    /// use notify_core::{RouteBuffer, Vm};
    /// use notify_sim::{CallKind, SimVm};
    ///
    /// let vm = SimVm::builder().build();
    /// vm.fail(CallKind::SetGsiRouting, 2, 12); // ENOMEM
    /// assert!(vm.set_gsi_routing(&RouteBuffer::new()).is_ok());
    /// assert!(vm.set_gsi_routing(&RouteBuffer::new()).is_err());
    /// assert!(vm.set_gsi_routing(&RouteBuffer::new()).is_ok());
    /// assert_eq!(vm.calls(CallKind::SetGsiRouting), 3);
    /// ```
    pub fn fail(&self, kind: CallKind, nth: u64, errno: i32) {
        let left = nth.saturating_sub(1);
        self.lock().calls.faults.push((kind, left, errno));
    }

    /// Cancels the ordered faults that have not come yet.
    pub fn clear_faults(&self) {
        self.lock().calls.faults.clear();
    }
}

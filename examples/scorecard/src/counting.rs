// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Counting`]: a VM that counts its commits and its irqfds.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify_core::{
    Extension, IoEventFdRequest, IrqFdRequest, KvmVm, LineStatus, MsiMessage, MsiOutcome, Platform,
    RouteBuffer, RoutingClaim, Vm,
};

type Hook = Box<dyn FnOnce() + Send>;

/// Counts KVM_SET_GSI_ROUTING and KVM_IRQFD, refused or not, and calls a hook when the next commit
/// begins.
pub(crate) struct Counting {
    vm: Arc<KvmVm>,
    commits: AtomicU32,
    irqfds: AtomicU32,
    at_next: Mutex<Option<Hook>>,
}

impl Counting {
    pub(crate) fn new(vm: Arc<KvmVm>) -> Self {
        Self {
            vm,
            commits: AtomicU32::new(0),
            irqfds: AtomicU32::new(0),
            at_next: Mutex::new(None),
        }
    }

    /// Returns how many commits have begun since the last call of [`reset`](Self::reset).
    pub(crate) fn commits(&self) -> u32 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Returns how many calls of KVM_IRQFD have begun since then, of either kind.
    pub(crate) fn irqfds(&self) -> u32 {
        self.irqfds.load(Ordering::Relaxed)
    }

    /// Sets the counts to 0.
    pub(crate) fn reset(&self) {
        self.commits.store(0, Ordering::Relaxed);
        self.irqfds.store(0, Ordering::Relaxed);
    }

    /// Sets the hook that the thread of the next commit calls before the ioctl.
    pub(crate) fn at_next_commit(&self, hook: impl FnOnce() + Send + 'static) {
        *self.hook() = Some(Box::new(hook));
    }

    fn hook(&self) -> MutexGuard<'_, Option<Hook>> {
        self.at_next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counting")
            .field("vm", &self.vm)
            .field("commits", &self.commits)
            .field("irqfds", &self.irqfds)
            .finish_non_exhaustive()
    }
}

impl Vm for Counting {
    fn check_extension(&self, capability: Extension) -> io::Result<u32> {
        self.vm.check_extension(capability)
    }
    fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()> {
        self.irqfds.fetch_add(1, Ordering::Relaxed);
        self.vm.irqfd(request)
    }
    fn ioeventfd(&self, request: &IoEventFdRequest<'_>) -> io::Result<()> {
        self.vm.ioeventfd(request)
    }
    fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()> {
        self.commits.fetch_add(1, Ordering::Relaxed);
        // The lock is released before the call.
        let hook = self.hook().take();
        if let Some(hook) = hook {
            hook();
        }
        self.vm.set_gsi_routing(table)
    }
    fn signal_msi(&self, message: &MsiMessage) -> io::Result<MsiOutcome> {
        self.vm.signal_msi(message)
    }
    fn irq_line_status(&self, gsi: u32, level: bool) -> io::Result<LineStatus> {
        self.vm.irq_line_status(gsi, level)
    }
    fn platform(&self) -> io::Result<Option<Platform>> {
        self.vm.platform()
    }

    fn routing_claim(&self) -> Option<&RoutingClaim> {
        self.vm.routing_claim()
    }

    fn retire(&self) {
        self.vm.retire();
    }
}

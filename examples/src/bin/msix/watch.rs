// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Watch`]: a VM that detects injections while a vector is closed.
//!
//! From the return of the write that closed a vector until the beginning of the one that opens it,
//! nothing may be injected. What is counted as *spurious*:
//!
//! - a KVM_SIGNAL_MSI with the vector's data that starts or ends in such a time, or spans it;
//! - the same of binding the vector's irqfd, which injects what its notifier has;
//! - an irqfd that is still assigned when such a time begins: a signal of its notifier would
//!   inject. (That nothing is injected once KVM has deassigned an irqfd is KVM's part.)
//!
//! KVM may inject a signal twice if it comes while its irqfd is being assigned. The watch knows
//! which triggers may be affected, and counts those that were doubled.
//!
//! What is injected must be what the guest has written before it opened the vector, in the message
//! or in the route that the irqfd is bound to. Anything else counts as *stale*.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use notify_core::{
    Extension, IoEventFdRequest, IrqFdAction, IrqFdRequest, LineStatus, MsiMessage, MsiOutcome,
    Platform, RouteBuffer, RouteTarget, RoutingClaim, Vm,
};

use crate::layout::{VECTORS, sender};

#[derive(Debug)]
pub(crate) struct Watch {
    vm: Arc<dyn Vm>,
    windows: Vec<Window>,
    /// The notifiers of exported vectors, by number.
    notifiers: OnceLock<Vec<(RawFd, u16)>>,
    /// The kernel's table: the data of each GSI's message.
    routes: Mutex<HashMap<u32, u32>>,
    spurious: AtomicU64,
    stale: AtomicU64,
    commits: AtomicU64,
}

/// One vector, as the guest sees it.
#[derive(Debug)]
pub(crate) struct Window {
    /// How many masks close it: its own and the function's.
    closed: AtomicU32,
    /// How often it was closed.
    closings: AtomicU64,
    /// Whether its irqfd may be bound.
    bound: AtomicBool,
    /// The data that it sends, since it was unmasked.
    data: AtomicU32,
    /// How often an assignment of its irqfd has begun or ended.
    assignments: AtomicU64,
    /// Whether the last trigger came during an assignment, and is not known to have been doubled.
    beside_assignment: AtomicBool,
    /// How many triggers KVM has doubled.
    doubled_by_kvm: AtomicU64,
}

impl Watch {
    /// All vectors are closed, by their own masks and the function.
    pub(crate) fn new(vm: Arc<dyn Vm>) -> Self {
        let window = |_| Window {
            closed: AtomicU32::new(2),
            closings: AtomicU64::new(0),
            bound: AtomicBool::new(false),
            data: AtomicU32::new(0),
            assignments: AtomicU64::new(0),
            beside_assignment: AtomicBool::new(false),
            doubled_by_kvm: AtomicU64::new(0),
        };
        Self {
            vm,
            windows: (0..VECTORS).map(window).collect(),
            notifiers: OnceLock::new(),
            routes: Mutex::default(),
            spurious: AtomicU64::new(0),
            stale: AtomicU64::new(0),
            commits: AtomicU64::new(0),
        }
    }

    /// Must be called before any of them is bound.
    pub(crate) fn know(&self, notifiers: Vec<(RawFd, u16)>) {
        // Called once only.
        let _ = self.notifiers.set(notifiers);
    }

    pub(crate) fn spurious(&self) -> u64 {
        self.spurious.load(SeqCst)
    }

    pub(crate) fn stale(&self) -> u64 {
        self.stale.load(SeqCst)
    }

    /// How often the kernel was given a routing table.
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(SeqCst)
    }

    /// How often a vector was closed.
    pub(crate) fn closings(&self, vector: u16) -> u64 {
        self.window(vector)
            .map_or(0, |window| window.closings.load(SeqCst))
    }

    /// The write that closes it has returned.
    pub(crate) fn closed(&self, vector: u16) {
        let Some(window) = self.window(vector) else {
            return;
        };
        window.closed.fetch_add(1, SeqCst);
        window.closings.fetch_add(1, SeqCst);
        self.count_if(window.bound.load(SeqCst));
    }

    /// The write that opens it is about to begin.
    pub(crate) fn opens(&self, vector: u16) {
        if let Some(window) = self.window(vector) {
            window.closed.fetch_sub(1, SeqCst);
        }
    }

    /// The guest has written this data before it unmasks the vector.
    pub(crate) fn sends(&self, vector: u16, data: u32) {
        if let Some(window) = self.window(vector) {
            window.data.store(data, SeqCst);
        }
    }

    /// Triggers a vector, and remembers whether its irqfd was being assigned meanwhile.
    pub(crate) fn beside_assignment<T>(&self, vector: u16, trigger: impl FnOnce() -> T) -> T {
        let Some(window) = self.window(vector) else {
            return trigger();
        };
        let before = window.assignments.load(SeqCst);
        let result = trigger();
        let under_way = before % 2 == 1;
        let beside = under_way || window.assignments.load(SeqCst) != before;
        window.beside_assignment.store(beside, SeqCst);
        result
    }

    /// Called when one interrupt more was counted than there were triggers. Returns whether KVM
    /// doubled it: that is so, once, if the last trigger came during an assignment.
    pub(crate) fn is_doubled_by_kvm(&self, vector: u16) -> bool {
        let Some(window) = self.window(vector) else {
            return false;
        };
        let beside = window.beside_assignment.swap(false, SeqCst);
        window.doubled_by_kvm.fetch_add(beside.into(), SeqCst);
        beside
    }

    /// How many triggers of a vector KVM has doubled.
    pub(crate) fn doubled_by_kvm(&self, vector: u16) -> u64 {
        self.window(vector)
            .map_or(0, |window| window.doubled_by_kvm.load(SeqCst))
    }

    fn window(&self, vector: u16) -> Option<&Window> {
        self.windows.get(usize::from(vector))
    }

    fn routes(&self) -> MutexGuard<'_, HashMap<u32, u32>> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of_notifier(&self, request: &IrqFdRequest<'_>) -> Option<&Window> {
        let fd = request.eventfd.as_raw_fd();
        let mut notifiers = self.notifiers.get()?.iter();
        let (_, vector) = notifiers.find(|(notifier, _)| *notifier == fd)?;
        self.window(*vector)
    }

    /// Calls `act`, which may inject a message with this data.
    fn injecting<T>(
        &self,
        window: Option<&Window>,
        data: Option<u32>,
        inject: impl FnOnce() -> T,
    ) -> T {
        let Some(window) = window else {
            return inject();
        };
        let stale = data != Some(window.data.load(SeqCst));
        self.stale.fetch_add(stale.into(), SeqCst);
        let closings = window.closings.load(SeqCst);
        let before = window.closed.load(SeqCst) > 0;
        let result = inject();
        let after = window.closed.load(SeqCst) > 0;
        self.count_if(before || after || window.closings.load(SeqCst) != closings);
        result
    }

    fn count_if(&self, spurious: bool) {
        self.spurious.fetch_add(spurious.into(), SeqCst);
    }
}

impl Vm for Watch {
    fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()> {
        let Some(window) = self.of_notifier(request) else {
            return self.vm.irqfd(request);
        };
        if matches!(request.action, IrqFdAction::Deassign) {
            self.vm.irqfd(request)?;
            window.bound.store(false, SeqCst);
            return Ok(());
        }
        window.bound.store(true, SeqCst);
        let data = self.routes().get(&request.gsi).copied();
        window.assignments.fetch_add(1, SeqCst);
        let result = self.injecting(Some(window), data, || self.vm.irqfd(request));
        window.assignments.fetch_add(1, SeqCst);
        if result.is_err() {
            window.bound.store(false, SeqCst);
        }
        result
    }

    fn signal_msi(&self, message: &MsiMessage) -> io::Result<MsiOutcome> {
        let window = sender(message.data).and_then(|(vector, _)| self.window(vector));
        self.injecting(window, Some(message.data), || self.vm.signal_msi(message))
    }

    fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()> {
        self.commits.fetch_add(1, SeqCst);
        self.vm.set_gsi_routing(table)?;
        let messages = table.iter().filter_map(|entry| match entry.target {
            RouteTarget::Msi(MsiMessage { data, .. }) => Some((entry.gsi, data)),
            _ => None,
        });
        *self.routes() = messages.collect();
        Ok(())
    }

    fn check_extension(&self, capability: Extension) -> io::Result<u32> {
        self.vm.check_extension(capability)
    }

    fn ioeventfd(&self, request: &IoEventFdRequest<'_>) -> io::Result<()> {
        self.vm.ioeventfd(request)
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

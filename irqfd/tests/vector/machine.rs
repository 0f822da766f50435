// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Machine`]: a simulated VM in which a test can act during a call.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use kvm_test::wait_until;

use notify_core::{
    Extension, IoEventFdRequest, IrqFdAction, IrqFdRequest, LineStatus, MsiMessage, MsiOutcome,
    Platform, RouteBuffer, RoutingClaim, Vm,
};
use notify_sim::{CallKind, Interrupt, SimVm};

type Act = Box<dyn FnOnce() + Send>;

/// A VM whose local APIC is enabled, and which refuses messages with a nonzero low byte in the
/// address's upper half.
pub(crate) struct Machine {
    pub(crate) sim: SimVm,
    during_commit: Mutex<Vec<Act>>,
    during_bind: Mutex<Vec<Act>>,
    during_signal: Mutex<Vec<Act>>,
    /// Threads that a call has started and that wait for its end.
    elsewhere: Arc<Mutex<Vec<JoinHandle<()>>>>,
    lacks_signal_msi: AtomicBool,
}

impl Default for Machine {
    fn default() -> Self {
        let sim = SimVm::builder().build();
        sim.enable_lapic(0);
        sim.enable_x2apic_ids();
        Self {
            sim,
            during_commit: Mutex::default(),
            during_bind: Mutex::default(),
            during_signal: Mutex::default(),
            elsewhere: Arc::default(),
            lacks_signal_msi: AtomicBool::new(false),
        }
    }
}

impl Machine {
    /// A kernel without KVM_SIGNAL_MSI.
    pub(crate) fn lack_signal_msi(&self) {
        self.lacks_signal_msi.store(true, Ordering::Relaxed);
    }

    /// Runs this in the middle of the next commit, after the kernel has taken it. Several hooks are
    /// for several commits.
    pub(crate) fn during_commit(&self, act: impl FnOnce() + Send + 'static) {
        self.during_commit.lock().unwrap().push(Box::new(act));
    }

    /// Runs this on another thread in the middle of the next commit, which ends when `has_begun`
    /// shows that it has begun. It may wait for the commit itself; [`join`](Self::join) waits for
    /// it.
    pub(crate) fn elsewhere_during_commit(
        &self,
        act: impl FnOnce() + Send + 'static,
        has_begun: impl Fn() -> bool + Send + 'static,
    ) {
        let elsewhere = Arc::clone(&self.elsewhere);
        self.during_commit(move || {
            elsewhere.lock().unwrap().push(thread::spawn(act));
            wait_until(has_begun);
        });
    }

    /// Waits for the other threads.
    pub(crate) fn join(&self) {
        let threads = std::mem::take(&mut *self.elsewhere.lock().unwrap());
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    }

    /// Runs this when the next irqfd has just been bound.
    pub(crate) fn during_bind(&self, act: impl FnOnce() + Send + 'static) {
        self.during_bind.lock().unwrap().push(Box::new(act));
    }

    /// Runs this in the middle of the next KVM_SIGNAL_MSI.
    pub(crate) fn during_signal(&self, act: impl FnOnce() + Send + 'static) {
        self.during_signal.lock().unwrap().push(Box::new(act));
    }

    /// The data of the messages that arrived since the last call, in their order.
    #[track_caller]
    pub(crate) fn expect(&self, messages: &[u32]) {
        let injected = self.sim.deliver();
        let data = injected.iter().filter_map(|one| match one.interrupt {
            Interrupt::Msi(message) => Some(message.data),
            _ => None,
        });
        assert_eq!(data.collect::<Vec<_>>(), messages);
    }

    /// How many tables, assignments, deassignments and messages the kernel got since the last call.
    #[track_caller]
    pub(crate) fn expect_calls(&self, calls: [u64; 4]) {
        assert_eq!(self.calls(), calls);
        self.sim.reset_calls();
    }

    pub(crate) fn calls(&self) -> [u64; 4] {
        [
            CallKind::SetGsiRouting,
            CallKind::IrqFdAssign,
            CallKind::IrqFdDeassign,
            CallKind::SignalMsi,
        ]
        .map(|kind| self.sim.calls(kind))
    }

    fn act(acts: &Mutex<Vec<Act>>) {
        let mut acts = acts.lock().unwrap();
        let next = (!acts.is_empty()).then(|| acts.remove(0));
        drop(acts);
        next.into_iter().for_each(|act| act());
    }
}

impl Vm for Machine {
    fn check_extension(&self, capability: Extension) -> io::Result<u32> {
        if capability == Extension::SignalMsi && self.lacks_signal_msi.load(Ordering::Relaxed) {
            return Ok(0);
        }
        self.sim.check_extension(capability)
    }

    fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()> {
        let result = self.sim.irqfd(request);
        if matches!(request.action, IrqFdAction::Assign) {
            Self::act(&self.during_bind);
        }
        result
    }

    fn ioeventfd(&self, request: &IoEventFdRequest<'_>) -> io::Result<()> {
        self.sim.ioeventfd(request)
    }

    fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()> {
        let result = self.sim.set_gsi_routing(table);
        Self::act(&self.during_commit);
        result
    }

    fn signal_msi(&self, message: &MsiMessage) -> io::Result<MsiOutcome> {
        let result = self.sim.signal_msi(message);
        Self::act(&self.during_signal);
        result
    }

    fn irq_line_status(&self, gsi: u32, level: bool) -> io::Result<LineStatus> {
        self.sim.irq_line_status(gsi, level)
    }

    fn platform(&self) -> io::Result<Option<Platform>> {
        self.sim.platform()
    }

    fn routing_claim(&self) -> Option<&RoutingClaim> {
        self.sim.routing_claim()
    }

    fn retire(&self) {
        self.sim.retire();
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Machine")
    }
}

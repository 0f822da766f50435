// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Watched`]: a real VM that counts the requests to it.

use std::collections::HashSet;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use notify_core::{
    Extension, IoEventFdRequest, IrqFdAction, IrqFdRequest, KvmVm, LineStatus, MsiMessage,
    MsiOutcome, Platform, RouteBuffer, RoutingClaim, Vm,
};

/// A real VM that counts, and checks that it may inject what it injects itself.
#[derive(Debug)]
pub(crate) struct Watched {
    kvm: Arc<KvmVm>,
    commits: AtomicU64,
    assigned: AtomicU64,
    bound: Mutex<HashSet<i32>>,
    /// By the interrupt's vector: whether it is masked, and how often it was injected nevertheless.
    masked: Vec<AtomicBool>,
    spurious: AtomicU64,
    /// Whether some of the calls fail, and how many could have failed.
    failing: AtomicBool,
    chances: AtomicU64,
}

impl Watched {
    pub(crate) fn new(kvm: Arc<KvmVm>) -> Self {
        Self {
            kvm,
            commits: AtomicU64::new(0),
            assigned: AtomicU64::new(0),
            bound: Mutex::default(),
            masked: (0..256).map(|_| AtomicBool::new(false)).collect(),
            spurious: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            chances: AtomicU64::new(0),
        }
    }

    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::SeqCst)
    }

    pub(crate) fn assigned(&self) -> u64 {
        self.assigned.load(Ordering::SeqCst)
    }

    pub(crate) fn bound(&self) -> usize {
        self.bound.lock().unwrap().len()
    }

    pub(crate) fn is_bound(&self, eventfd: &impl AsRawFd) -> bool {
        self.bound.lock().unwrap().contains(&eventfd.as_raw_fd())
    }

    /// Sets whether an interrupt may be injected from now on.
    pub(crate) fn mask(&self, vector: u32, masked: bool) {
        self.masked[vector as usize].store(masked, Ordering::SeqCst);
    }

    pub(crate) fn spurious(&self) -> u64 {
        self.spurious.load(Ordering::SeqCst)
    }

    /// Whether, from now on, about one in 50 assignments of irqfds and commits fails with ENOMEM.
    pub(crate) fn fail_some(&self, failing: bool) {
        self.failing.store(failing, Ordering::SeqCst);
    }

    fn chance(&self) -> io::Result<()> {
        if !self.failing.load(Ordering::SeqCst) {
            return Ok(());
        }
        let chance = self.chances.fetch_add(1, Ordering::SeqCst);
        // After a multiplication by a large odd number, the upper bits look random.
        match (chance.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % 50 {
            0 => Err(io::Error::from_raw_os_error(libc::ENOMEM)),
            _ => Ok(()),
        }
    }

    fn look(&self, message: &MsiMessage) {
        let masked = self.masked[(message.data & 0xff) as usize].load(Ordering::SeqCst);
        self.spurious.fetch_add(u64::from(masked), Ordering::SeqCst);
    }
}

impl Vm for Watched {
    fn check_extension(&self, capability: Extension) -> io::Result<u32> {
        self.kvm.check_extension(capability)
    }

    fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()> {
        let eventfd = request.eventfd.as_raw_fd();
        let assigns = !matches!(request.action, IrqFdAction::Deassign);
        // An irqfd that is being bound counts as bound.
        if assigns {
            self.assigned.fetch_add(1, Ordering::SeqCst);
            self.bound.lock().unwrap().insert(eventfd);
        }
        let chance = if assigns { self.chance() } else { Ok(()) };
        let result = chance.and_then(|()| self.kvm.irqfd(request));
        if result.is_ok() != assigns {
            self.bound.lock().unwrap().remove(&eventfd);
        }
        result
    }

    fn ioeventfd(&self, request: &IoEventFdRequest<'_>) -> io::Result<()> {
        self.kvm.ioeventfd(request)
    }

    fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.chance()?;
        self.kvm.set_gsi_routing(table)
    }

    fn signal_msi(&self, message: &MsiMessage) -> io::Result<MsiOutcome> {
        self.look(message);
        let result = self.kvm.signal_msi(message);
        self.look(message);
        result
    }

    fn irq_line_status(&self, gsi: u32, level: bool) -> io::Result<LineStatus> {
        self.kvm.irq_line_status(gsi, level)
    }

    fn platform(&self) -> io::Result<Option<Platform>> {
        self.kvm.platform()
    }

    fn routing_claim(&self) -> Option<&RoutingClaim> {
        self.kvm.routing_claim()
    }

    fn retire(&self) {
        self.kvm.retire();
    }
}

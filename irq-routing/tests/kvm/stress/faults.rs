// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Faulty`]: a real VM that also fails when it should not.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use irq_routing::{MsiMessage, Platform};
use kvm_test::Machine;
use notify_core::{
    Extension, IoEventFdRequest, IrqFdRequest, KvmVm, LineStatus, MsiOutcome, RouteBuffer,
    RouteEntry, RouteTarget, RoutingClaim, Vm,
};

use super::random::Random;

/// A bit of a message's data that no good message has.
const MARK: u32 = 1 << 30;

/// The text of the VM's panic.
const BUG: &str = "a bug of the VM";

const EINVAL: i32 = 22;
const ENOMEM: i32 = 12;

/// Which tables are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Faults {
    /// Those with a bad message in them, and no others.
    Guilt,
    /// Others too, at random; and the VM panics, before the kernel has the table or after.
    Chance,
}

#[derive(Debug)]
pub(super) struct Faulty {
    vm: Arc<KvmVm>,
    faults: Faults,
    random: Random,
    /// Whether there are random faults now.
    fails: AtomicBool,
    tables: AtomicU64,
    refused: AtomicU64,
    panics: AtomicU64,
}

impl Faulty {
    pub(super) fn new(vm: Arc<KvmVm>, faults: Faults) -> Self {
        Self {
            vm,
            faults,
            random: Random::new(1),
            fails: AtomicBool::new(false),
            tables: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            panics: AtomicU64::new(0),
        }
    }

    pub(super) fn faults(&self) -> Faults {
        self.faults
    }

    pub(super) fn fail(&self, fails: bool) {
        let fails = fails && self.faults == Faults::Chance;
        self.fails.store(fails, Ordering::Relaxed);
    }

    fn table(&self, table: &RouteBuffer) -> io::Result<()> {
        let lot = self.fails.load(Ordering::Relaxed);
        let lot = lot.then(|| self.random.below(64));
        match lot {
            Some(0..4) => return Err(io::Error::from_raw_os_error(EINVAL)),
            Some(4..8) => return Err(io::Error::from_raw_os_error(ENOMEM)),
            Some(8) => self.panic(),
            _ => {}
        }
        if table.iter().any(|entry| is_marked(&entry)) {
            return Err(io::Error::from_raw_os_error(ENOMEM));
        }
        self.vm.set_gsi_routing(table)?;
        if lot == Some(9) {
            self.panic();
        }
        Ok(())
    }

    /// A panic that the hook does not print.
    fn panic(&self) -> ! {
        self.panics.fetch_add(1, Ordering::Relaxed);
        resume_unwind(Box::new(BUG))
    }
}

fn is_marked(entry: &RouteEntry) -> bool {
    matches!(entry.target, RouteTarget::Msi(MsiMessage { data, .. }) if data & MARK != 0)
}

/// A message that is refused: by us for its mark, or by KVM for bits 32 to 39 of its address.
pub(super) fn bad_message(random: &Random) -> MsiMessage {
    let vector = random.below(256);
    if random.once_in(2) {
        MsiMessage::new(Machine::MSI_ADDRESS, vector | MARK)
    } else {
        let high = u64::from(random.within(1..256)) << 32;
        MsiMessage::new(Machine::MSI_ADDRESS | high, vector)
    }
}

/// The result of a call, unless the VM panics in it.
pub(super) fn caught<T>(call: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(reply) => Some(reply),
        Err(panic) if panic.downcast_ref() == Some(&BUG) => None,
        Err(panic) => resume_unwind(panic),
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [tables, refused, panics] =
            [&self.tables, &self.refused, &self.panics].map(|n| n.load(Ordering::Relaxed));
        write!(f, "{tables} tables, {refused} refused, {panics} panics")
    }
}

impl Vm for Faulty {
    fn check_extension(&self, capability: Extension) -> io::Result<u32> {
        self.vm.check_extension(capability)
    }
    fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()> {
        self.vm.irqfd(request)
    }
    fn ioeventfd(&self, request: &IoEventFdRequest<'_>) -> io::Result<()> {
        self.vm.ioeventfd(request)
    }
    fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()> {
        self.tables.fetch_add(1, Ordering::Relaxed);
        self.table(table).inspect_err(|_| {
            self.refused.fetch_add(1, Ordering::Relaxed);
        })
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

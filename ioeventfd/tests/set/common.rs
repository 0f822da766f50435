// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The vocabulary of these tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ioeventfd::{
    AfterExit, Datamatch, Doorbell, DoorbellRegistry, DoorbellSet, Epoch, Error, IoAddress, Width,
    Window,
};
use notify_core::EventNotifier;
use notify_sim::{CallKind, SimVm};

pub(crate) const BASE: u64 = 0xfe00_b000;
pub(crate) const ELSEWHERE: u64 = 0xfd00_3000;
/// The size of the BAR at either.
pub(crate) const BAR: u64 = 0x1000;
pub(crate) const W2: Datamatch = Datamatch::Width(Width::W2);
pub(crate) const W4: Datamatch = Datamatch::Width(Width::W4);

/// A VM and a set in it.
pub(crate) struct Rig {
    pub(crate) vm: Arc<SimVm>,
    pub(crate) registry: DoorbellRegistry,
    pub(crate) set: DoorbellSet,
}

pub(crate) fn rig() -> Rig {
    let vm = Arc::new(SimVm::builder().build());
    let registry = DoorbellRegistry::new(vm.clone(), Window::X86_IRQCHIP);
    let set = DoorbellSet::new(&registry);
    Rig { vm, registry, set }
}

pub(crate) fn notifier() -> Arc<EventNotifier> {
    Arc::new(EventNotifier::new().unwrap())
}

pub(crate) fn notifiers(count: usize) -> Vec<Arc<EventNotifier>> {
    (0..count).map(|_| notifier()).collect()
}

pub(crate) fn mmio(
    key: u64,
    address: u64,
    datamatch: Datamatch,
    notifier: &Arc<EventNotifier>,
) -> Doorbell {
    Doorbell::new(
        key,
        IoAddress::Mmio(address),
        datamatch,
        Arc::clone(notifier),
    )
}

/// One doorbell for each notifier, four bytes apart.
pub(crate) fn queues(base: u64, notifiers: &[Arc<EventNotifier>]) -> Vec<Doorbell> {
    let one = |(queue, notifier)| mmio(queue, base + queue * 4, W2, notifier);
    (0..).zip(notifiers).map(one).collect()
}

pub(crate) fn change(
    set: &DoorbellSet,
    wanted: impl IntoIterator<Item = Doorbell>,
) -> Result<Epoch, Error> {
    Ok(set.apply(set.plan(wanted)?)?)
}

#[track_caller]
pub(crate) fn have(set: &DoorbellSet, wanted: impl IntoIterator<Item = Doorbell>) -> Epoch {
    change(set, wanted).unwrap()
}

/// How many ioctls there were since the last call: registrations and deregistrations.
pub(crate) fn ioctls(vm: &SimVm) -> (u64, u64) {
    let count = |kind| vm.calls(kind);
    let calls = (
        count(CallKind::IoEventFdAssign),
        count(CallKind::IoEventFdDeassign),
    );
    vm.reset_calls();
    calls
}

/// A guest's write, whose exits go to the set. Returns whether nothing was left for the VMM, and
/// how many pieces exited.
pub(crate) fn ring(rig: &Rig, address: IoAddress, bytes: &[u8]) -> (bool, usize) {
    let written = rig.vm.guest_write(address.bus(), address.number(), bytes);
    let all = written.exits.iter().all(|exit| {
        let at = match address {
            IoAddress::Mmio(_) => IoAddress::Mmio(exit.address),
            port => port,
        };
        rig.set.on_exit_write(at, exit.bytes()).unwrap() == AfterExit::Resume
    });
    (all, written.exits.len())
}

/// Rings by the kernel alone: returns whether the kernel took the write.
pub(crate) fn kernel_takes(vm: &SimVm, address: u64, bytes: &[u8]) -> bool {
    let written = vm.guest_write(notify_core::Bus::Mmio, address, bytes);
    written.exits.is_empty()
}

/// Takes what is pending in each notifier.
pub(crate) fn take(notifiers: &[Arc<EventNotifier>]) -> Vec<u64> {
    let count = |one: &Arc<EventNotifier>| one.consume().unwrap().map_or(0, u64::from);
    notifiers.iter().map(count).collect()
}

#[track_caller]
pub(crate) fn expect_kicks(notifiers: &[Arc<EventNotifier>], kicks: &[u64]) {
    assert_eq!(take(notifiers), kicks);
}

/// Sets the flag when it is dropped, so that the other thread does not wait for a thread that has
/// failed.
pub(crate) struct Ends<'a>(pub(crate) &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

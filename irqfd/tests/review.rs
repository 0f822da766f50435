// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Paths that lost their tests, or never had one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use irq_routing::{MsiMessage, Platform, RoutingTable, Wiring};
use irqfd::inject::{self, Injected};
use irqfd::{EoiExits, EventNotifier, LevelLine};
use notify_core::{
    Extension, IoEventFdRequest, IrqFdRequest, LineStatus, MsiOutcome, RouteBuffer, Vm,
};
use notify_sim::{CallKind, Profile, SimVm};

/// An entry ends by the EOI of its vector if it is level-triggered and fixed or lowest-priority.
#[test]
fn entries_of_each_delivery_mode_end_as_kvms_do() {
    let vm = SimVm::builder().profile(Profile::X86Split { pins: 24 });
    let vm = Arc::new(vm.build());
    vm.enable_lapic(0);
    let builder = RoutingTable::builder(vm).wiring(Wiring::none(Platform::X86Split));
    let table = builder.build().unwrap();
    let exits = EoiExits::default();
    let lease = table.lease_exact(10).unwrap();
    lease.set_route(MsiMessage::default()).unwrap();
    let line = LevelLine::builder(lease.into_line().unwrap()).eoi_exits(&exits);
    let line = line.build().unwrap();
    let resample = Arc::new(EventNotifier::new().unwrap());
    let irq = line.join_resampled(Arc::clone(&resample)).unwrap();
    irq.assert().unwrap();
    for (mode, ends) in [(0, true), (1, true), (2, false), (4, false), (7, false)] {
        let data = 0x8052 | mode << 8;
        line.redirect(MsiMessage::new(0xfee0_0000, data), false).unwrap();
        let _ = resample.consume();
        assert_eq!(exits.on_vector(0x52), usize::from(ends), "mode {mode}");
        assert_eq!(resample.is_signalled().unwrap(), ends, "mode {mode}");
    }
}

/// A VM whose second commit panics in the middle.
#[derive(Debug)]
struct CutShort(Arc<SimVm>, AtomicU32);

impl Vm for CutShort {
    fn check_extension(&self, extension: Extension) -> io::Result<u32> {
        self.0.check_extension(extension)
    }

    fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()> {
        self.0.irqfd(request)
    }

    fn ioeventfd(&self, request: &IoEventFdRequest<'_>) -> io::Result<()> {
        self.0.ioeventfd(request)
    }

    fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()> {
        assert_eq!(self.1.fetch_add(1, Ordering::Relaxed), 0, "a bug of the VM");
        self.0.set_gsi_routing(table)
    }

    fn signal_msi(&self, message: &MsiMessage) -> io::Result<MsiOutcome> {
        self.0.signal_msi(message)
    }

    fn irq_line_status(&self, gsi: u32, level: bool) -> io::Result<LineStatus> {
        self.0.irq_line_status(gsi, level)
    }

    fn platform(&self) -> io::Result<Option<Platform>> {
        self.0.platform()
    }
}

/// After a commit that was cut short the kernel's table is unknown, so nothing is said of it.
#[test]
fn after_a_commit_that_was_cut_short_what_comes_of_nothing_is_unknown() {
    let vm = Arc::new(CutShort(Arc::new(SimVm::builder().build()), AtomicU32::new(0)));
    let table = RoutingTable::builder(vm).wiring(Wiring::pc()).build().unwrap();
    let line = table.line(20).unwrap();
    assert_eq!(inject::line_status(&line, true).unwrap(), Injected::Masked);
    inject::line(&line, false).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| table.recommit())).is_err());
    assert_eq!(inject::line_status(&line, true).unwrap(), Injected::Untold);
}

/// "`Rejected` returns what a failed call had consumed": a trigger that is not joined must not be
/// closed, with its signal.
#[test]
fn a_trigger_that_does_not_join_comes_back() {
    let vm = Arc::new(SimVm::builder().build());
    let table = RoutingTable::builder(vm.clone()).wiring(Wiring::pc()).build().unwrap();
    let line = LevelLine::builder(table.line(20).unwrap()).build().unwrap();
    let resample = Arc::new(EventNotifier::new().unwrap());
    let trigger = Arc::new(EventNotifier::builder().initial(1).build().unwrap());
    let weak = Arc::downgrade(&trigger);
    vm.fail(CallKind::IrqFdAssign, 1, libc::ENOMEM);
    let _error = line.join_exported(Some(trigger), resample).unwrap_err();
    assert!(weak.upgrade().is_some(), "the trigger is closed, and its signal lost");
}

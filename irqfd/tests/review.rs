// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Paths that lost their tests, or never had one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use irq_routing::{MsiMessage, Platform, RoutingTable, Wiring};
use irqfd::inject::{self, Injected};
use irqfd::{EoiExits, EventNotifier, LevelLine};
use notify_sim::{Profile, SimVm};

/// KVM's own table is in place until the first commit: where it has no route, or a masked pin, the
/// table does not know why nothing came of it.
#[test]
fn before_the_first_commit_what_comes_of_nothing_is_unknown() {
    let vm = Arc::new(SimVm::builder().build());
    vm.enable_lapic(0);
    let table = RoutingTable::builder(vm).wiring(Wiring::pc()).build().unwrap();
    let line = table.line(20).unwrap();
    assert_eq!(inject::line_status(&line, true).unwrap(), Injected::Untold);
}

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

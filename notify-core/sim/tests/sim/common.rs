// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The vocabulary of these tests.

use std::io;
use std::os::fd::AsRawFd;

use notify_core::EventNotifier;
use notify_sim::raw::{IoEventFd, IrqFd, Routing, RoutingEntry};
use notify_sim::{Profile, SimVm};

pub(crate) const DATAMATCH: u32 = 1;
pub(crate) const PIO: u32 = 2;
pub(crate) const DEASSIGN_DOORBELL: u32 = 4;
pub(crate) const DEASSIGN: u32 = 1;
pub(crate) const RESAMPLE: u32 = 2;

pub(crate) const PIC: u32 = 0;
pub(crate) const SLAVE: u32 = 1;
pub(crate) const IOAPIC: u32 = 2;

/// A VM of this profile, its one vCPU ready to take MSIs.
pub(crate) fn machine(profile: Profile) -> SimVm {
    let vm = SimVm::builder().profile(profile).build();
    vm.enable_lapic(0);
    vm
}

pub(crate) fn pc() -> SimVm {
    machine(Profile::X86)
}

pub(crate) fn eventfd() -> EventNotifier {
    EventNotifier::new().unwrap()
}

#[track_caller]
pub(crate) fn expect_errno<T: std::fmt::Debug>(result: io::Result<T>, errno: i32) {
    assert_eq!(result.unwrap_err().raw_os_error(), Some(errno));
}

pub(crate) fn irqfd(eventfd: &EventNotifier, gsi: u32, flags: u32) -> IrqFd {
    IrqFd {
        fd: eventfd.as_raw_fd(),
        gsi,
        flags,
        ..IrqFd::default()
    }
}

pub(crate) fn level(eventfd: &EventNotifier, gsi: u32, resample: &EventNotifier) -> IrqFd {
    IrqFd {
        resamplefd: resample.as_raw_fd(),
        ..irqfd(eventfd, gsi, RESAMPLE)
    }
}

pub(crate) fn doorbell(eventfd: &EventNotifier, addr: u64, len: u32) -> IoEventFd {
    IoEventFd {
        fd: eventfd.as_raw_fd(),
        addr,
        len,
        ..IoEventFd::default()
    }
}

pub(crate) fn matching(eventfd: &EventNotifier, addr: u64, len: u32, datamatch: u64) -> IoEventFd {
    IoEventFd {
        datamatch,
        flags: DATAMATCH,
        ..doorbell(eventfd, addr, len)
    }
}

pub(crate) fn pin(gsi: u32, chip: u32, pin: u32) -> RoutingEntry {
    RoutingEntry {
        gsi,
        kind: 1,
        u: [chip, pin, 0, 0, 0, 0, 0, 0],
        ..RoutingEntry::default()
    }
}

pub(crate) fn msi(gsi: u32, vector: u32) -> RoutingEntry {
    RoutingEntry {
        gsi,
        kind: 2,
        u: [0xfee0_0000, 0, vector, 0, 0, 0, 0, 0],
        ..RoutingEntry::default()
    }
}

pub(crate) fn route(vm: &SimVm, entries: &[RoutingEntry]) -> io::Result<i32> {
    vm.kvm_set_gsi_routing(&Routing::of(entries))
}

/// Asserts the vectors that arrived since the last call.
#[track_caller]
pub(crate) fn expect_vectors(vm: &SimVm, vectors: &[u8]) {
    assert_eq!(vm.pending_vectors(0), vectors);
    vm.clear_vectors(0);
}

#[track_caller]
pub(crate) fn expect_count(eventfd: &EventNotifier, count: u64) {
    assert_eq!(eventfd.consume().unwrap().map_or(0, u64::from), count);
}

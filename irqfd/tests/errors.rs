// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The rules of all error types: a text that is complete by itself, an errno, and values that can
//! be kept and compared.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use irq_routing::{MsiMessage, Platform, RoutingTable, Wiring};
use irqfd::vfio::{IntxDevice, PassthroughIntx};
use irqfd::{
    EoiExits, EventNotifier, IrqFd, LevelLine, RestoreError, Vector, VectorState, inject, msi, msix,
};
use notify_sim::{CallKind, Profile, SimVm};

const EIO: i32 = 5;

fn machine() -> (Arc<SimVm>, RoutingTable) {
    let vm = Arc::new(SimVm::builder().build());
    let table = RoutingTable::builder(vm.clone()).wiring(Wiring::pc());
    let table = table.build().unwrap();
    (vm, table)
}

fn message() -> MsiMessage {
    MsiMessage::new(0xfee0_0000, 0x40)
}

/// A chain printer shows the cause once, and the errno is there without parsing the text.
#[track_caller]
fn expect_complete<E: Error + Clone + PartialEq + fmt::Debug>(error: &E, errno: Option<i32>) {
    let text = error.to_string();
    assert!(text.ends_with("(os error 5)"), "{text}");
    assert!(error.source().is_none(), "{text}");
    assert_eq!(errno, Some(EIO), "{text}");
    assert_eq!(error.clone(), *error);
}

#[test]
fn of_an_irqfd() {
    let (vm, table) = machine();
    vm.fail(CallKind::IrqFdAssign, 1, EIO);
    let lease = table.lease_msi(message()).unwrap();
    let error = IrqFd::builder(lease).assign().unwrap_err().error;
    expect_complete(&error, error.raw_os_error());
}

#[test]
fn of_an_irqfd_that_stays_bound() {
    let (vm, table) = machine();
    let irqfd = IrqFd::builder(table.lease_msi(message()).unwrap());
    let irqfd = irqfd.assign().unwrap();
    vm.fail(CallKind::IrqFdDeassign, 1, EIO);
    let error = irqfd.deassign().unwrap_err().error;
    expect_complete(&error, error.raw_os_error());
}

#[test]
fn of_a_notifier_that_is_bound_already() {
    let (_vm, table) = machine();
    let first = IrqFd::builder(table.lease_msi(message()).unwrap());
    let first = first.assign().unwrap();
    let second = IrqFd::builder(table.lease_msi(message()).unwrap());
    let second = second.notifier(Arc::clone(first.notifier())).assign();
    let error = second.unwrap_err().error;
    assert_eq!(error.raw_os_error(), Some(libc::EBUSY));
    let text = error.to_string();
    assert!(text.contains("deassign it there first"), "{text}");
    assert!(text.ends_with("(os error 16)"), "{text}");
}

/// A report prints them.
#[test]
fn states_have_words() {
    let states = [
        (VectorState::Masked, "masked"),
        (VectorState::Blocked, "blocked by the translation"),
        (VectorState::NoNotifier, "without a notifier"),
    ];
    for (state, words) in states {
        assert_eq!(state.to_string(), words);
    }
}

#[test]
fn of_a_vector() {
    let (vm, table) = machine();
    let vector = Vector::builder(&table).private_irqfd(true).build().unwrap();
    vector.set_message(message()).unwrap();
    vm.fail(CallKind::IrqFdAssign, 1, EIO);
    let error = vector.unmask().unwrap_err();
    expect_complete(&error, error.raw_os_error());
}

#[test]
fn of_a_line() {
    let (vm, table) = machine();
    let line = LevelLine::builder(table.line(10).unwrap()).build().unwrap();
    let device = line.join().unwrap();
    vm.fail(CallKind::IrqLine, 1, EIO);
    let error = device.assert().unwrap_err();
    expect_complete(&error, error.raw_os_error());
    assert!(error.to_string().contains("line 10"));
}

#[test]
fn of_a_redirection() {
    let vm = SimVm::builder().profile(Profile::X86Split { pins: 24 });
    let vm = Arc::new(vm.build());
    let table = RoutingTable::builder(vm.clone()).wiring(Wiring::none(Platform::X86Split));
    let lease = table.build().unwrap().lease_exact(10).unwrap();
    lease.set_route(message()).unwrap();
    let line = LevelLine::builder(lease.into_line().unwrap());
    let line = line.eoi_exits(&EoiExits::default()).build().unwrap();
    vm.fail(CallKind::SetGsiRouting, 1, EIO);
    let other = MsiMessage::new(0xfee0_0000, 0x8051);
    let error = line.redirect(other, false).unwrap_err();
    expect_complete(&error, error.raw_os_error());
}

/// A line that is not paused is given its new level at once.
#[test]
fn of_a_restored_line() {
    let (vm, table) = machine();
    let line = LevelLine::builder(table.line(10).unwrap()).build().unwrap();
    let device = line.join().unwrap();
    device.assert().unwrap();
    line.pause().unwrap();
    let asserted = line.snapshot().unwrap();
    line.resume().unwrap();
    device.deassert().unwrap();
    vm.fail(CallKind::IrqLine, 1, EIO);
    let error = line.restore(&asserted).unwrap_err();
    assert!(matches!(error, RestoreError::Line(_)), "{error}");
    expect_complete(&error, error.raw_os_error());
    drop(device);
    let error = line.restore(&asserted).unwrap_err();
    assert!(matches!(error, RestoreError::Devices { .. }), "{error}");
    assert_eq!(error.raw_os_error(), None);
}

#[test]
fn of_an_injection() {
    let (vm, table) = machine();
    vm.fail(CallKind::SignalMsi, 1, EIO);
    let error = inject::message(&table, message()).unwrap_err();
    expect_complete(&error, error.raw_os_error());
    assert!(error.to_string().contains("0xfee00000"), "{error}");
}

#[derive(Debug)]
struct Refuses;

impl IntxDevice for Refuses {
    fn mask(&self) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(EIO))
    }

    fn unmask(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_trigger(&self, _: Option<&EventNotifier>) -> io::Result<()> {
        Ok(())
    }

    fn set_unmask(&self, _: Option<&EventNotifier>) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn of_a_passed_through_device() {
    let (_vm, table) = machine();
    let line = LevelLine::builder(table.line(10).unwrap()).build().unwrap();
    let error = PassthroughIntx::enable(&line, Arc::new(Refuses)).unwrap_err();
    expect_complete(&error, error.raw_os_error());
}

/// The back-end's own error may have a chain, which continues after the text.
#[test]
fn of_a_back_end() {
    #[derive(Debug, thiserror::Error)]
    #[error("the daemon is gone")]
    struct Gone(#[source] io::Error);

    let (_vm, table) = machine();
    let table = msix::Table::builder(&table).build().unwrap();
    let queue = msix::Binding::new(&table);
    let set_call = |_: &Arc<EventNotifier>| Err(Gone(io::Error::from_raw_os_error(EIO)));
    let error = queue.bind_call(0, set_call).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the back-end of a queue does not take another call: the daemon is gone"
    );
    let source = error.source().unwrap().to_string();
    assert!(source.ends_with("(os error 5)"), "{source}");
}

/// What a log shows of a snapshot that is refused.
#[test]
fn registers_and_addresses_are_in_hex() {
    let refused = |capability: Vec<u8>, pending| {
        let registers = msi::Registers {
            capability,
            pending,
        };
        format!("{:?}", msi::Snapshot::try_from(&registers).unwrap_err())
    };
    let capability = vec![0x05, 0, 0x80, 0, 0, 0, 0xe0, 0xfe, 0, 0, 0, 0, 0x41, 0];
    let with = |at: usize, byte| {
        let mut bytes = capability.clone();
        bytes[at] = byte;
        refused(bytes, 0)
    };
    assert_eq!(with(0, 0x11), "Id { found: 0x11 }");
    assert_eq!(with(4, 0x1f), "Reserved { offset: 0x4, found: 0x1f }");
    assert_eq!(
        refused(capability, 0x50),
        "Bits { masked: 0x0, pending: 0x50 }"
    );

    let (_vm, table) = machine();
    let table = msix::Table::builder(&table).build().unwrap();
    table.pause();
    let mut saved = serde_json::to_value(table.snapshot().unwrap()).unwrap();
    saved["vectors"][0]["address"] = 0xfee0_0001_u64.into();
    let saved: msix::Snapshot = serde_json::from_value(saved).unwrap();
    let error = table.restore(&saved).unwrap_err();
    assert_eq!(
        format!("{error:?}"),
        "Address { vector: Some(0), address: 0xfee00001 }"
    );
    assert_eq!(
        error.to_string(),
        "vector 0 has the address 0xfee00001, with bits set that are always zero"
    );
}

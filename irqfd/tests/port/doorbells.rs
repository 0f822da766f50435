// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Doorbells: the layer registers those for any write, and cannot deregister others.

use std::io;
use std::sync::Arc;

use ioeventfd::{Datamatch, Error, IoAddress, IoEventFd};
use notify_core::Bus;
use notify_sim::{CallKind, SimVm};

use super::port;

#[test]
fn a_doorbell_for_any_write_rings_and_goes() {
    let vm = Arc::new(SimVm::builder().build());
    let address = IoAddress::Mmio(0xd000_0000);
    let doorbell = IoEventFd::builder(port(&vm), address, Datamatch::AnyWrite);
    let doorbell = doorbell.assign().unwrap();
    let kick = doorbell.notifier().clone();
    vm.guest_write(Bus::Mmio, 0xd000_0000, &[1, 0]);
    assert!(kick.consume().unwrap().is_some());

    let taken = IoEventFd::builder(port(&vm), address, Datamatch::AnyWrite).assign();
    let error = taken.unwrap_err().error;
    assert!(matches!(error, Error::Taken { .. }), "EEXIST: {error:?}");

    drop(doorbell);
    vm.guest_write(Bus::Mmio, 0xd000_0000, &[1, 0]);
    assert_eq!(kick.consume().unwrap(), None);
}

#[test]
fn a_doorbell_that_could_not_be_taken_back_is_refused() {
    let vm = Arc::new(SimVm::builder().build());
    let address = IoAddress::Mmio(0xd000_0000);
    let doorbell = IoEventFd::builder(port(&vm), address, Datamatch::U32(1)).assign();
    let error = doorbell.unwrap_err().error;
    let Error::Refused { cause, .. } = error else {
        unreachable!("{error:?}");
    };
    assert_eq!(cause.kind(), io::ErrorKind::Unsupported);
    assert_eq!(vm.calls(CallKind::IoEventFdAssign), 0);
}

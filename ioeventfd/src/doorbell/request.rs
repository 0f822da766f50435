// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The requests to the VM, what is refused before, and what the VM's errors mean.

use std::io;
use std::os::fd::AsFd;

use notify_core::{EventNotifier, Extension, IoEventFdRequest, Retired, SysError, Vm};

use crate::{Datamatch, Error, IoAddress};

fn request(
    address: IoAddress,
    datamatch: Datamatch,
    notifier: &EventNotifier,
) -> IoEventFdRequest<'_> {
    let (bus, number) = (address.bus(), address.number());
    IoEventFdRequest::assign(notifier.as_fd(), bus, number, datamatch.bytes())
        .datamatch(datamatch.value())
}

/// Fails if the doorbell could never ring on this VM.
pub(super) fn check(vm: &dyn Vm, address: IoAddress, datamatch: Datamatch) -> Result<(), Error> {
    if !address.takes(datamatch.bytes()) {
        return Err(Error::NoSuchWrite { address, datamatch });
    }
    if datamatch == Datamatch::AnyWrite {
        let any = vm.check_extension(Extension::IoEventFdAnyLength);
        if any.map_err(|error| explain(address, datamatch, error))? == 0 {
            return Err(Error::NoAnyWrite { address });
        }
    }
    Ok(())
}

/// Registers a doorbell that passed [`check`].
pub(super) fn register(
    vm: &dyn Vm,
    address: IoAddress,
    datamatch: Datamatch,
    notifier: &EventNotifier,
) -> Result<(), Error> {
    vm.ioeventfd(&request(address, datamatch, notifier))
        .map_err(|error| explain(address, datamatch, error))
}

/// Deregisters it, with the same key and notifier.
pub(super) fn deregister(
    vm: &dyn Vm,
    address: IoAddress,
    datamatch: Datamatch,
    notifier: &EventNotifier,
) -> Result<(), Error> {
    vm.ioeventfd(&request(address, datamatch, notifier).deassign())
        .map_err(|error| Error::StaysRegistered {
            address,
            datamatch,
            cause: error.into(),
        })
}

fn explain(address: IoAddress, datamatch: Datamatch, error: io::Error) -> Error {
    if Retired::caused(&error) {
        return Error::Retired { address };
    }
    let cause = SysError::from(error);
    // EEXIST has this kind, and no other errno of KVM has.
    if cause.kind() == io::ErrorKind::AlreadyExists {
        return Error::Taken {
            address,
            datamatch,
            cause,
        };
    }
    Error::Refused {
        address,
        datamatch,
        cause,
    }
}

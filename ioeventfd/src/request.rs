// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What is asked of the machine, what is refused before, and what its refusals mean.

use std::io;
use std::os::fd::AsFd;

use notify_core::{EventNotifier, Extension, IoEventFdRequest, Retired, Vm};

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

/// Refuses what could never ring on this machine.
pub(crate) fn check(vm: &dyn Vm, address: IoAddress, datamatch: Datamatch) -> Result<(), Error> {
    if !address.takes(datamatch.bytes()) {
        return Err(Error::NoSuchWrite { address, datamatch });
    }
    if datamatch == Datamatch::AnyWrite {
        let any = vm.check_extension(Extension::IoEventFdAnyLength);
        if any.map_err(|source| explain(address, datamatch, source))? == 0 {
            return Err(Error::NoAnyWrite { address });
        }
    }
    Ok(())
}

/// Registers a doorbell that was checked.
pub(crate) fn register(
    vm: &dyn Vm,
    address: IoAddress,
    datamatch: Datamatch,
    notifier: &EventNotifier,
) -> Result<(), Error> {
    vm.ioeventfd(&request(address, datamatch, notifier))
        .map_err(|source| explain(address, datamatch, source))
}

/// Deregisters it, by the same key and notifier.
pub(crate) fn deregister(
    vm: &dyn Vm,
    address: IoAddress,
    datamatch: Datamatch,
    notifier: &EventNotifier,
) -> Result<(), Error> {
    vm.ioeventfd(&request(address, datamatch, notifier).deassign())
        .map_err(|source| Error::Deassign {
            address,
            datamatch,
            source,
        })
}

fn explain(address: IoAddress, datamatch: Datamatch, source: io::Error) -> Error {
    if Retired::caused(&source) {
        let source = Retired;
        return Error::Retired { address, source };
    }
    // EEXIST has this kind, and nothing else that KVM answers has.
    if source.kind() == io::ErrorKind::AlreadyExists {
        return Error::Taken {
            address,
            datamatch,
            source,
        };
    }
    Error::Assign {
        address,
        datamatch,
        source,
    }
}

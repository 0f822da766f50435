// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`IoEventFd`]: one registered doorbell.

mod builder;
mod request;

use std::io;
use std::sync::Arc;

use notify_core::{EventNotifier, Vm};

pub use builder::IoEventFdBuilder;

use crate::{Datamatch, Error, IoAddress, Rejected};

/// A doorbell: a write of the guest that signals a notifier.
///
/// Dropping it deregisters the address, with the key and the notifier that registered it; a failure
/// is logged. When that is done the guest's next write exits to user space. A signal that came
/// before stays in the notifier. On kernels since 6.18 a deregistration right after a registration
/// waits for an SRCU grace period (some 8 ms at CONFIG_HZ=250, 20 ms at 100);
/// [`Vm::retire`](notify_core::Vm::retire) avoids it when a VM is closed.
///
/// It keeps its notifier open: KVM does not notice that an eventfd is closed, and the address would
/// stay taken until the VM is closed. It also keeps the VM open.
///
/// Kernel source: `virt/kvm/eventfd.c`, `kvm_assign_ioeventfd`.
///
/// ```
/// # use std::sync::Arc;
/// # use ioeventfd::{Datamatch, Error, IoAddress, IoEventFd, Width};
/// # use notify_sim::SimVm;
/// # let vm = Arc::new(SimVm::builder().build());
/// let address = IoAddress::Pio(0x510);
/// let doorbell = IoEventFd::builder(vm.clone(), address, Datamatch::U16(0)).assign()?;
///
/// // Another value of the same width may have a doorbell of its own; all values may not.
/// let other = IoEventFd::builder(vm.clone(), address, Datamatch::U16(1)).assign()?;
/// let all = IoEventFd::builder(vm, address, Datamatch::Width(Width::W2)).assign();
/// assert!(matches!(all.map_err(Error::from), Err(Error::Taken { .. })));
///
/// // What was kicked before it is stopped is still there to be taken.
/// let notifier = doorbell.notifier().clone();
/// doorbell.deassign()?;
/// # drop((other, notifier));
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping a doorbell deregisters it"]
pub struct IoEventFd {
    vm: Arc<dyn Vm>,
    address: IoAddress,
    datamatch: Datamatch,
    notifier: Arc<EventNotifier>,
    registration: Registration,
}

/// Whether the kernel knows the doorbell.
#[derive(Debug, PartialEq, Eq)]
enum Registration {
    Registered,
    Gone,
}

impl IoEventFd {
    /// A doorbell that rings for `datamatch` at `address`.
    #[must_use = "a builder registers nothing"]
    pub fn builder(vm: Arc<dyn Vm>, address: IoAddress, datamatch: Datamatch) -> IoEventFdBuilder {
        IoEventFdBuilder {
            vm,
            address,
            datamatch,
            notifier: None,
        }
    }

    pub(crate) fn registered(builder: IoEventFdBuilder, notifier: Arc<EventNotifier>) -> Self {
        Self {
            vm: builder.vm,
            address: builder.address,
            datamatch: builder.datamatch,
            notifier,
            registration: Registration::Registered,
        }
    }

    /// A doorbell that the kernel does not know yet: the atom of a set, which registers and
    /// deregisters many, and must be able to take each step back.
    pub(crate) fn unregistered(
        vm: Arc<dyn Vm>,
        address: IoAddress,
        datamatch: Datamatch,
        notifier: Arc<EventNotifier>,
    ) -> Self {
        Self {
            vm,
            address,
            datamatch,
            notifier,
            registration: Registration::Gone,
        }
    }

    pub(crate) fn is_registered(&self) -> bool {
        self.registration == Registration::Registered
    }

    /// Registers it, if it is not.
    pub(crate) fn register(&mut self) -> Result<(), Error> {
        if self.is_registered() {
            return Ok(());
        }
        let (address, datamatch) = (self.address, self.datamatch);
        request::check(&*self.vm, address, datamatch)?;
        request::register(&*self.vm, address, datamatch, &self.notifier)?;
        self.registration = Registration::Registered;
        Ok(())
    }

    pub(crate) fn address(&self) -> IoAddress {
        self.address
    }

    pub(crate) fn datamatch(&self) -> Datamatch {
        self.datamatch
    }

    /// What it signals.
    #[must_use]
    pub fn notifier(&self) -> &Arc<EventNotifier> {
        &self.notifier
    }

    /// Deregisters it, as dropping does, and returns whether that worked. A doorbell that the
    /// kernel does not have any more (ENOENT) counts as deregistered; a warning is logged.
    ///
    /// Kicks that came before are in the notifier, which comes back ready to be registered again. A
    /// VMM that stops a queue takes them and serves the queue once more.
    ///
    /// # Errors
    ///
    /// [`Error::StaysRegistered`]; the doorbell comes back inside, still registered as far as is
    /// known.
    pub fn deassign(mut self) -> Result<IoEventFdBuilder, Rejected<Self>> {
        if let Err(error) = self.deregister() {
            return Err(Rejected::new(error, self));
        }
        Ok(IoEventFdBuilder {
            vm: Arc::clone(&self.vm),
            address: self.address,
            datamatch: self.datamatch,
            notifier: Some(Arc::clone(&self.notifier)),
        })
    }

    /// Deregisters it, if it is registered. A doorbell that the kernel does not have (ENOENT) is
    /// gone: another party has deregistered it, or KVM had no memory to make its bus smaller and
    /// dropped every doorbell on it. A caller could do nothing about that, so it is logged.
    pub(crate) fn deregister(&mut self) -> Result<(), Error> {
        if !self.is_registered() {
            return Ok(());
        }
        let (address, datamatch) = (self.address, self.datamatch);
        match request::deregister(&*self.vm, address, datamatch, &self.notifier) {
            Err(Error::StaysRegistered { cause, .. })
                if cause.kind() == io::ErrorKind::NotFound =>
            {
                log::warn!("the kernel had lost the doorbell at {address} for {datamatch}");
            }
            deregistered => deregistered?,
        }
        self.registration = Registration::Gone;
        Ok(())
    }
}

impl Drop for IoEventFd {
    fn drop(&mut self) {
        if let Err(error) = self.deregister() {
            log::error!("{error}");
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`IoEventFd`]: one registered doorbell.

mod builder;
mod request;

use std::io;
use std::sync::Arc;

use notify_core::{EventNotifier, Vm};

pub use builder::IoEventFdBuilder;

use crate::{Datamatch, Error, IoAddress, Rejected};

/// One registered doorbell: matching writes of the guest signal a notifier.
///
/// Dropping it deregisters it; a failure is logged. From then on the guest's writes exit to user
/// space. Earlier signals stay in the notifier.
///
/// The drop blocks for one KVM_IOEVENTFD. On kernels since 6.18 a deregistration right after a
/// registration also waits for an SRCU grace period (about 8 ms at CONFIG_HZ=250, 20 ms at 100).
/// [`Vm::retire`](notify_core::Vm::retire) avoids that when a VM is closed.
///
/// It keeps its notifier and the VM open. If an eventfd is closed first, KVM does not notice, and
/// the address stays taken until the VM is closed.
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
/// // Kicks from before stay in the notifier.
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

/// Whether the doorbell is registered in the kernel.
#[derive(Debug, PartialEq, Eq)]
enum Registration {
    Registered,
    Gone,
}

impl IoEventFd {
    /// Creates a builder for a doorbell that rings for writes of `datamatch` at `address`.
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

    /// A doorbell that is not registered yet: a set registers and deregisters many, and must be
    /// able to undo each step.
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

    /// Returns the notifier that it signals.
    #[must_use]
    pub fn notifier(&self) -> &Arc<EventNotifier> {
        &self.notifier
    }

    /// Deregisters it, as dropping it does, and reports a failure. If the kernel does not have the
    /// doorbell any more (ENOENT), that is success, and a warning is logged.
    ///
    /// Returns a builder that registers it again with the same notifier, which keeps earlier kicks.
    /// A VMM that stops a queue takes these kicks and serves the queue once more.
    ///
    /// # Errors
    ///
    /// [`Error::StaysRegistered`]. The doorbell is returned inside [`Rejected`]. It counts as
    /// registered.
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
    /// gone: other code has deregistered it, or KVM had no memory to shrink its bus and dropped
    /// every doorbell on it. The caller cannot do anything about that, so it is only logged.
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

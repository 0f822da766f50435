// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How a vector is made.

use std::sync::{Arc, OnceLock};

use irq_routing::RoutingTable;

use super::arming::ArmQueue;
use super::control::Control;
use super::trigger::{Gate, Outlet, Output, SharedMessage};
use super::{Device, Inner, Vector, VectorHandle};
use crate::VectorError;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicI32};

/// Builds a [`Vector`].
#[derive(Debug)]
#[must_use]
pub struct VectorBuilder<'a> {
    table: &'a RoutingTable,
    queue: Option<&'a ArmQueue>,
    private: bool,
    name: Option<Arc<str>>,
    place: Option<(Arc<Device>, u16)>,
}

impl<'a> VectorBuilder<'a> {
    pub(super) fn new(table: &'a RoutingTable) -> Self {
        Self {
            table,
            queue: None,
            private: false,
            name: None,
            place: None,
        }
    }

    /// Sets the queue whose owner arms the vector, if it is private or exported (default: none; the
    /// thread that unmasks the vector commits its route).
    pub fn queue(mut self, queue: &'a ArmQueue) -> Self {
        self.queue = Some(queue);
        self
    }

    /// Sets whether the vector is *private*: it has an irqfd of its own instead of KVM_SIGNAL_MSI.
    ///
    /// The default is `false`, unless the kernel lacks KVM_SIGNAL_MSI. For a VMM whose system call
    /// filter does not allow KVM_SIGNAL_MSI on device threads.
    pub fn private_irqfd(mut self, private: bool) -> Self {
        self.private = private;
        self
    }

    /// Sets a name, which its lease and [`Dead`](crate::Dead) have (default: none).
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// One of the vectors of a device.
    pub(crate) fn of(mut self, device: &Arc<Device>, number: u16) -> Self {
        self.place = Some((Arc::clone(device), number));
        self
    }

    /// Builds a masked vector without a message.
    ///
    /// Issues no ioctl but KVM_CHECK_EXTENSION, once for a VM, unless the vector is private.
    ///
    /// # Errors
    ///
    /// [`VectorError::OtherTable`]: the queue is of another routing table.
    /// [`VectorError::Notifier`]: it needs a notifier, which cannot be created.
    pub fn build(self) -> Result<Vector, VectorError> {
        Ok(Vector {
            handle: self.build_handle()?,
        })
    }

    pub(crate) fn build_handle(self) -> Result<VectorHandle, VectorError> {
        if self.queue.is_some_and(|queue| queue.table() != self.table) {
            return Err(VectorError::OtherTable);
        }
        let (device, number) = match self.place {
            Some((device, number)) => (device, Some(number)),
            None => (Arc::new(Device::new(self.name, true)), None),
        };
        let mut inner = Inner {
            table: self.table.clone(),
            queue: self.queue.map(ArmQueue::shared),
            device,
            number,
            by_irqfd: self.private,
            gate: Gate::new(),
            sent: SharedMessage::new(),
            refusal: AtomicI32::new(0),
            dead: AtomicBool::new(false),
            outlet: Outlet::new(Output::Message),
            control: Mutex::new(Control::default()),
            registration: OnceLock::new(),
        };
        if self.private || !inner.signals() {
            inner.by_irqfd = true;
            inner.outlet = Outlet::new(inner.private_output()?);
        }
        let inner = Arc::new(inner);
        if self.table.translates() {
            let weak = Arc::downgrade(&inner);
            let registration = self.table.on_retranslate(move || {
                if let Some(inner) = weak.upgrade() {
                    inner.retranslate();
                }
            });
            // It is set once.
            let _ = inner.registration.set(registration);
        }
        Ok(VectorHandle { inner })
    }
}
